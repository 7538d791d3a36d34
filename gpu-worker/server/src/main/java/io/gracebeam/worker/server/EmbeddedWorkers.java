package io.gracebeam.worker.server;

import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.worker.EmbeddedWorker;
import io.gracebeam.proto.worker.EmbeddedWorkerProvider;

/**
 * Starts workers inside this process, over a real loopback connection. Found by {@link
 * java.util.ServiceLoader}.
 */
public final class EmbeddedWorkers implements EmbeddedWorkerProvider {

  /** For the service loader. */
  public EmbeddedWorkers() {}

  @Override
  public EmbeddedWorker start(EngineSettings settings) {
    return WorkerServer.start(WorkerSettings.defaults(), new GraceMethods(settings));
  }
}
