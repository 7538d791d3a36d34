package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.kernels.KernelBench;
import io.gracebeam.worker.kernels.PackedDecoder;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * One layout's turn in a process of its own, so that its memory can be told: for each line on
 * standard input it fills the cache with a prompt and decodes, and prints the seconds of both.
 */
final class DecodeContestant {
  private static final int CHUNK = 256;

  private DecodeContestant() {}

  /**
   * Arguments: shape, bits, bits of the head and of the cache, threads, prompt, new tokens, layers.
   */
  public static void main(String[] args) throws IOException {
    DecoderShape shape = shape(args[0], Integer.parseInt(args[7]));
    KernelBench.Layout layout =
        new KernelBench.Layout(
            "", Integer.parseInt(args[1]), Integer.parseInt(args[2]), Integer.parseInt(args[3]));
    int prompt = Integer.parseInt(args[5]);
    int tokens = Integer.parseInt(args[6]);
    int chunk = Math.min(CHUNK, prompt);
    PackedDecoder.Limits limits =
        new PackedDecoder.Limits(1, prompt + tokens, chunk, layout.kvBits());
    int group = shape.mlp() % 128 == 0 ? 128 : 32;
    try (KernelBench bench = new KernelBench(Integer.parseInt(args[4]));
        PackedDecoder decoder = bench.decoder(shape, layout, group);
        PackedDecoder.Session session = decoder.open(limits);
        BufferedReader in =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      System.out.printf("bytes %d %d%n", decoder.weightBytes(), session.bytes());
      System.out.flush();
      while (in.readLine() != null) {
        long start = System.nanoTime();
        for (int at = 0; at < prompt; at += chunk) {
          rows(session, at, Math.min(chunk, prompt - at));
        }
        long filled = System.nanoTime();
        float sum = 0;
        for (int t = 0; t < tokens; t++) {
          sum += session.logits(rows(session, prompt + t, 1))[0];
        }
        System.out.printf(
            "seconds %.6f %.6f %s resident %d peak %d%n",
            (filled - start) / 1e9,
            (System.nanoTime() - filled) / 1e9,
            Float.isFinite(sum) ? "finite" : "broken",
            memory("VmRSS"),
            memory("VmHWM"));
        System.out.flush();
      }
    }
  }

  private static float[] rows(PackedDecoder.Session session, int at, int n) {
    DecoderShape shape = session.shape();
    int[] positions = new int[n];
    Arrays.setAll(positions, i -> at + i);
    float[] x = new float[n * shape.width()];
    for (int i = 0; i < x.length; i++) {
      x[i] = (i * 7 + at) % 13 / 6f - 1;
    }
    float[] rope = new float[n * shape.headDim()];
    int half = shape.headDim() / 2;
    for (int i = 0; i < n; i++) {
      for (int k = 0; k < half; k++) {
        double angle = (at + i) * Math.pow(10000, -(double) k / half);
        rope[i * 2 * half + k] = (float) Math.cos(angle);
        rope[i * 2 * half + half + k] = (float) Math.sin(angle);
      }
    }
    session.forward(new int[n], positions, rope, x);
    return x;
  }

  /** Bytes of this process, by the kernel's name: VmRSS or VmHWM. */
  private static long memory(String name) throws IOException {
    return DecodeMemory.kibibytes(Path.of("/proc/self/status"), name) * 1024;
  }

  /**
   * True sizes of published models' decoders.
   *
   * @param layers of which the first are taken, all if it has fewer
   */
  static DecoderShape shape(String name, int layers) {
    return switch (name) {
      case "llava-1.5-7b" ->
          new DecoderShape(Math.min(layers, 32), 4096, 32, 32, 128, 11008, 32064, 1e-5f);
      case "qwen2-vl-2b" ->
          new DecoderShape(Math.min(layers, 28), 1536, 12, 2, 128, 8960, 151936, 1e-6f);
      case "student" -> new DecoderShape(Math.min(layers, 3), 128, 4, 4, 32, 352, 128, 1e-5f);
      default ->
          throw GraceException.user(
              "--shape is '%s'; allowed: llava-1.5-7b, qwen2-vl-2b, student", name);
    };
  }
}
