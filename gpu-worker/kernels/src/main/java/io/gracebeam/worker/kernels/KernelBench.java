package io.gracebeam.worker.kernels;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/** Times the native kernels on random weights, for {@code grace bench}. */
public final class KernelBench implements AutoCloseable {
  private static final long ALIGN = 64;
  private static final int PATCHES = 16;

  /**
   * Bits of the parts of a decoder.
   *
   * @param bits of the layers' weights
   * @param headBits of the head
   * @param kvBits of the caches
   * @param towerBits of the linears of vision tower and projector
   */
  public record Layout(String name, int bits, int headBits, int kvBits, int towerBits) {}

  private final NativeLibrary library = NativeLibrary.load();
  private final NativeKernels kernels;

  /**
   * Starts the threads.
   *
   * @throws UnsupportedOperationException where there are no native kernels
   */
  public KernelBench(int threads) {
    kernels = new NativeKernels(library, library.bestIsa(), threads, new ScalarProducts());
  }

  /** Instruction set and threads. */
  public String describe() {
    return kernels.describe();
  }

  /** Memory read per second, in bytes; the best of some passes. */
  public double readBandwidth(long bytes, int passes) {
    try (Arena arena = Arena.ofShared()) {
      MemorySegment memory = library.reserve(bytes, arena).fill((byte) 1);
      double best = 0;
      for (int i = 0; i < passes; i++) {
        long start = System.nanoTime();
        kernels.read(memory);
        best = Math.max(best, bytes / ((System.nanoTime() - start) / 1e9));
      }
      return best;
    }
  }

  /**
   * Least seconds of a product of m inputs with a random weight, and the weight's bytes.
   *
   * @param seconds of one product
   * @param bytes of the weight
   */
  public record Product(double seconds, long bytes) {}

  /** Times a product. */
  public Product product(int bits, int rows, int cols, int group, int m, int passes) {
    try (Arena arena = Arena.ofShared()) {
      MemorySegment weight =
          kernels
              .products()
              .pack(new RandomWeight(bits, rows, cols, bits == 16 ? cols : group, 1), arena);
      MemorySegment x = arena.allocate(ValueLayout.JAVA_FLOAT, (long) m * cols);
      Random random = new Random(1);
      for (long i = 0; i < (long) m * cols; i++) {
        x.setAtIndex(ValueLayout.JAVA_FLOAT, i, random.nextFloat() - 0.5f);
      }
      MemorySegment y = arena.allocate(ValueLayout.JAVA_FLOAT, (long) m * rows);
      MemorySegment space = arena.allocate(library.scratchBytes(weight, m), ALIGN);
      double best = Double.MAX_VALUE;
      for (int i = 0; i < passes; i++) {
        long start = System.nanoTime();
        kernels.products().multiply(weight, x, m, y, space);
        best = Math.min(best, (System.nanoTime() - start) / 1e9);
      }
      return new Product(best, weight.byteSize());
    }
  }

  /** A decoder with random weights. */
  public PackedDecoder decoder(DecoderShape shape, Layout layout, int group) {
    List<DecoderWeights.Layer> layers = new ArrayList<>();
    for (int i = 0; i < shape.layers(); i++) {
      int seed = 8 * i;
      layers.add(
          new DecoderWeights.Layer(
              ones(shape.width()),
              random(layout.bits(), shape.qkv(), shape.width(), group, seed),
              null,
              random(
                  layout.bits(), shape.width(), shape.heads() * shape.headDim(), group, seed + 1),
              ones(shape.width()),
              random(layout.bits(), 2 * shape.mlp(), shape.width(), group, seed + 2),
              random(layout.bits(), shape.width(), shape.mlp(), group, seed + 3)));
    }
    Matrix head = random(layout.headBits(), shape.vocab(), shape.width(), group, 7);
    return new PackedDecoder(kernels, new DecoderWeights(shape, layers, ones(shape.width()), head));
  }

  /**
   * Random weights of a model beside its decoder; they stay in memory until the arena is closed.
   *
   * @param linears [rows, cols] of vision tower and projector
   * @param rest bytes of everything that is not a linear layer, for example the embedding table
   * @return bytes
   */
  public long beside(List<RandomWeight> linears, long rest, Arena arena) {
    long bytes = rest;
    if (rest > 0) {
      library.reserve(rest, arena).fill((byte) 1);
    }
    for (RandomWeight w : linears) {
      MemorySegment weight = kernels.products().pack(w, arena);
      multiply(weight, w);
      bytes += weight.byteSize();
    }
    return bytes;
  }

  /** One product of a few rows, as many as a photo has patches. */
  private void multiply(MemorySegment weight, RandomWeight w) {
    try (Arena passing = Arena.ofConfined()) {
      MemorySegment x = passing.allocate(ValueLayout.JAVA_FLOAT, (long) PATCHES * w.cols());
      MemorySegment y = passing.allocate(ValueLayout.JAVA_FLOAT, (long) PATCHES * w.rows());
      MemorySegment space = passing.allocate(library.scratchBytes(weight, PATCHES), ALIGN);
      kernels.products().multiply(weight, x, PATCHES, y, space);
    }
  }

  private static Matrix random(int bits, int rows, int cols, int group, int seed) {
    return new RandomWeight(bits, rows, cols, bits == 16 ? cols : group, seed);
  }

  private static float[] ones(int n) {
    float[] out = new float[n];
    java.util.Arrays.fill(out, 1f);
    return out;
  }

  @Override
  public void close() {
    kernels.close();
  }
}
