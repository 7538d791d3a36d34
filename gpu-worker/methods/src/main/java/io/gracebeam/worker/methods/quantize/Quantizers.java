package io.gracebeam.worker.methods.quantize;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.plugin.Plugins;
import java.util.List;

/** The registry of quantizers, which ServiceLoader finds. */
public final class Quantizers {
  private Quantizers() {}

  /**
   * The quantizer of this name.
   *
   * @throws GraceException user, for an unknown name (the message lists all); environment, if two
   *     quantizers have one name or one cannot be loaded
   */
  public static Quantizer get(String name) {
    return get(name, Quantizer.class.getClassLoader());
  }

  static Quantizer get(String name, ClassLoader loader) {
    return Plugins.load(Quantizer.class, "quantizer", q -> List.of(q.name()), loader).get(name);
  }
}
