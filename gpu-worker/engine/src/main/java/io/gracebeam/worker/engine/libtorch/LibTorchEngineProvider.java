package io.gracebeam.worker.engine.libtorch;

import ai.djl.engine.Engine;
import ai.djl.engine.EngineProvider;
import io.gracebeam.proto.error.GraceException;

/** Offers the engine to DJL: {@code Engine.getEngine("LibTorch")}. */
public final class LibTorchEngineProvider implements EngineProvider {
  private static LibTorchEngine engine;

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
   * @throws GraceException ENVIRONMENT where libtorch is missing, too old or of another machine
   */
  @Override
  public Engine getEngine() {
    synchronized (LibTorchEngineProvider.class) {
      if (engine == null) {
        try {
          engine = new LibTorchEngine();
        } catch (ExceptionInInitializerError e) {
          if (e.getCause() instanceof GraceException known) {
            throw known;
          }
          throw e;
        }
      }
      return engine;
    }
  }
}
