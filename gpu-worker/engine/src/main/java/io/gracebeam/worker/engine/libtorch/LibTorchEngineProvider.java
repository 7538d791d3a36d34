package io.gracebeam.worker.engine.libtorch;

import ai.djl.engine.Engine;
import ai.djl.engine.EngineProvider;
import io.gracebeam.proto.error.GraceException;
import java.util.function.Supplier;

/** Offers the engine to DJL: {@code Engine.getEngine("LibTorch")}. */
public final class LibTorchEngineProvider implements EngineProvider {
  private static LibTorchEngine engine;
  private static Supplier<GraceException> refusal;

  @Override
  public String getEngineName() {
    return LibTorchEngine.NAME;
  }

  @Override
  public int getEngineRank() {
    return LibTorchEngine.RANK;
  }

  /**
   * The one engine of this process.
   *
   * @throws GraceException ENVIRONMENT where libtorch is missing, too old or of another machine,
   *     USER for a setting out of range; again at each call
   */
  @Override
  public Engine getEngine() {
    synchronized (LibTorchEngineProvider.class) {
      if (refusal != null) {
        // A class whose initializer failed cannot be tried again.
        throw refusal.get();
      }
      if (engine == null) {
        try {
          engine = new LibTorchEngine();
        } catch (ExceptionInInitializerError e) {
          if (e.getCause() instanceof GraceException known) {
            refusal = () -> new GraceException(known.category(), known.getMessage());
            throw known;
          }
          throw e;
        }
      }
      return engine;
    }
  }
}
