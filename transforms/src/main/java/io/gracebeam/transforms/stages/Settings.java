package io.gracebeam.transforms.stages;

import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import org.apache.beam.sdk.values.PCollection;
import org.checkerframework.checker.nullness.qual.Nullable;

/** Checks of the transforms' configuration. */
final class Settings {
  private Settings() {}

  static int positive(String transform, String name, int value) {
    if (value < 1) {
      throw GraceException.user("%s: %s is %d; it must be at least 1", transform, name, value);
    }
    return value;
  }

  static <T> T required(String transform, String with, @Nullable T value) {
    if (value == null) {
      throw GraceException.user("%s: %s is missing; call it once", transform, with);
    }
    return value;
  }

  static void bounded(String transform, PCollection<?> input) {
    if (input.isBounded() == PCollection.IsBounded.UNBOUNDED) {
      throw GraceException.user(
          "%s: the input is unbounded; only bounded collections are allowed", transform);
    }
  }

  /** A store's URI, where a path is one as well. */
  static String store(String transform, String store) {
    return Artifacts.uriOrPath(transform + ": intoStore", store).toString();
  }
}
