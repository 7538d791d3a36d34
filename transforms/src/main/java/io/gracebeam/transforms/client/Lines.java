package io.gracebeam.transforms.client;

import io.grpc.StatusRuntimeException;
import org.checkerframework.checker.nullness.qual.Nullable;

/** Failures as one line. */
final class Lines {
  private Lines() {}

  /** Code, description and the root cause's message where it adds something. */
  static String of(StatusRuntimeException e) {
    StringBuilder line = new StringBuilder(e.getStatus().getCode().name());
    if (e.getStatus().getDescription() != null) {
      line.append(": ").append(e.getStatus().getDescription());
    }
    @Nullable Throwable root = e.getStatus().getCause();
    while (root != null && root.getCause() != null) {
      root = root.getCause();
    }
    if (root != null && root.getMessage() != null) {
      line.append(" (").append(root.getMessage()).append(')');
    }
    return line.toString().replaceAll("\\s*\\R\\s*", " ");
  }
}
