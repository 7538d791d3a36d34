package io.gracebeam.proto.worker;

import io.gracebeam.proto.v1.EngineSettings;
import java.util.Iterator;
import java.util.Optional;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;

/**
 * Starts a worker inside this process. Found by {@link ServiceLoader}, so that no client depends on
 * the worker at compile time: the worker's classes need a newer Java than the client's.
 */
public interface EmbeddedWorkerProvider {
  /**
   * Starts a worker on a free loopback port.
   *
   * @param settings engine, threads (0: all cores) and device
   * @throws io.gracebeam.proto.error.GraceException (environment) where engine or device cannot be
   *     had
   */
  EmbeddedWorker start(EngineSettings settings);

  /**
   * The first provider on the class path that this JVM can load; empty where there is none, or
   * where the JVM is too old for its classes.
   */
  static Optional<EmbeddedWorkerProvider> find() {
    return find(EmbeddedWorkerProvider.class.getClassLoader());
  }

  /** As {@link #find()}, among the classes of {@code loader}. */
  static Optional<EmbeddedWorkerProvider> find(ClassLoader loader) {
    Iterator<EmbeddedWorkerProvider> providers =
        ServiceLoader.load(EmbeddedWorkerProvider.class, loader).iterator();
    try {
      return providers.hasNext() ? Optional.of(providers.next()) : Optional.empty();
    } catch (ServiceConfigurationError | UnsupportedClassVersionError error) {
      if (error instanceof UnsupportedClassVersionError
          || error.getCause() instanceof UnsupportedClassVersionError) {
        return Optional.empty();
      }
      throw error;
    }
  }
}
