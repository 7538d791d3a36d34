package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.kernels.KernelBench;
import io.gracebeam.worker.methods.family.ModelSizes;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** Estimates whether contestants fit the memory together. */
final class DecodeMemory {
  /** Of a process besides its weights: JVM, cache of keys and values, scratch. */
  private static final long PROCESS = 500L << 20;

  private static final double USABLE = 0.95;

  private DecodeMemory() {}

  /** Bytes of a contestant's process; scales are counted as those of groups of 32, the most. */
  static long bytes(DecoderShape s, int bits, int headBits) {
    long attention = (long) s.qkv() * s.width() + (long) s.heads() * s.headDim() * s.width();
    long layer = attention + 3L * s.mlp() * s.width();
    double weights =
        s.layers() * (double) layer * bytes(bits)
            + (double) s.vocab() * s.width() * bytes(headBits);
    return (long) weights + PROCESS;
  }

  /** Bytes of one of our processes, which holds the whole model. */
  static long bytes(ModelSizes s, KernelBench.Layout layout) {
    double tower =
        Stream.concat(s.vision().stream(), s.projector().stream())
            .mapToDouble(l -> (double) l.count() * l.rows() * l.cols() * bytes(layout.towerBits()))
            .sum();
    return bytes(s.decoder(), layout.bits(), layout.headBits()) + (long) tower + 2 * s.rest();
  }

  private static double bytes(int bits) {
    return bits / 8.0 + (bits < 16 ? 2.0 / 32 : 0);
  }

  /** Whether processes of these sizes fit what is available now. */
  static boolean fits(List<Long> bytes) throws IOException {
    double sum = bytes.stream().mapToDouble(Long::doubleValue).sum();
    return sum <= USABLE * kibibytes(Path.of("/proc/meminfo"), "MemAvailable") * 1024;
  }

  /**
   * A figure of a file of lines like {@code VmRSS: 1234 kB}.
   *
   * @throws GraceException environment, where it is not there
   */
  static long kibibytes(Path file, String name) throws IOException {
    for (String line : Files.readAllLines(file)) {
      if (line.startsWith(name + ":")) {
        return Long.parseLong(line.replaceAll("[^0-9]", ""));
      }
    }
    throw GraceException.environment("%s has no %s", file, name);
  }
}
