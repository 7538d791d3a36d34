package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.kernels.KernelBench;
import io.gracebeam.worker.kernels.PackedDecoder;
import io.gracebeam.worker.kernels.RandomWeight;
import io.gracebeam.worker.methods.checkpoint.TensorRows;
import io.gracebeam.worker.methods.export.MemoryPlan;
import io.gracebeam.worker.methods.family.ModelSizes;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * One layout in a process of its own, so that its memory can be measured: for each line on standard
 * input it fills the cache with a prompt and decodes, and prints the seconds of both. The process
 * holds the whole model: the weights of the decoder, the vision tower and the projector (the latter
 * two are multiplied once, before the first turn). The embedding table stays in its file; a row is
 * read for each token, as {@link TensorRows} does for a loaded model.
 */
final class DecodeContestant {
  private static final int CHUNK = 256;

  /** A prime near the golden ratio times 2^32: successive multiples are far from each other. */
  private static final int SPREAD = (int) 2654435761L;

  private static final String STUDENT = "student";

  private DecodeContestant() {}

  /**
   * Arguments: shape, bits, bits of the head, the cache and the tower, threads, prompt, new tokens,
   * layers, and the file of embeddings.
   */
  public static void main(String[] args) {
    Ending.run(() -> turns(args));
  }

  static void turns(String[] args) throws IOException {
    long process = memory("VmRSS");
    ModelSizes sizes = sizes(args[0], Integer.parseInt(args[8]));
    DecoderShape shape = sizes.decoder();
    KernelBench.Layout layout =
        new KernelBench.Layout(
            "",
            Integer.parseInt(args[1]),
            Integer.parseInt(args[2]),
            Integer.parseInt(args[3]),
            Integer.parseInt(args[4]));
    int threads = Integer.parseInt(args[5]);
    int prompt = Integer.parseInt(args[6]);
    int tokens = Integer.parseInt(args[7]);
    int chunk = Math.min(CHUNK, prompt);
    PackedDecoder.Limits limits =
        new PackedDecoder.Limits(1, prompt + tokens, chunk, layout.kvBits());
    int group = shape.mlp() % 128 == 0 ? 128 : 32;
    long planned = planned(sizes, layout, group, limits, threads);
    try (KernelBench bench = new KernelBench(threads);
        Arena arena = Arena.ofShared();
        PackedDecoder decoder = bench.decoder(shape, layout, group);
        PackedDecoder.Session session = decoder.open(limits);
        TensorRows table = EmbeddingFile.open(Path.of(args[9]));
        BufferedReader in =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      long beside = bench.beside(linears(sizes, layout, group), sizes.rest() * 2, arena);
      System.out.printf("whole %d %d %d%n", beside, process, planned);
      System.out.printf("bytes %d %d%n", decoder.weightBytes(), session.bytes());
      System.out.flush();
      float[] logits = new float[shape.vocab()];
      while (in.readLine() != null) {
        long start = System.nanoTime();
        for (int at = 0; at < prompt; at += chunk) {
          rows(session, table, at, Math.min(chunk, prompt - at));
        }
        long filled = System.nanoTime();
        float sum = 0;
        for (int t = 0; t < tokens; t++) {
          session.logits(rows(session, table, prompt + t, 1), logits, 0);
          sum += logits[0];
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

  /** What {@code grace plan} tells of the layout: bytes of weights, cache and scratch space. */
  static long planned(
      ModelSizes sizes,
      KernelBench.Layout layout,
      int group,
      PackedDecoder.Limits limits,
      int threads) {
    int tower = layout.towerBits();
    MemoryPlan.Layout same =
        new MemoryPlan.Layout(
            layout.name(), layout.bits(), layout.headBits(), tower, tower, layout.kvBits());
    return MemoryPlan.row(sizes, same, group, limits, threads).peak();
  }

  /** Linears of vision tower and projector. */
  static List<RandomWeight> linears(ModelSizes sizes, KernelBench.Layout layout, int group) {
    List<RandomWeight> out = new ArrayList<>();
    for (List<ModelSizes.Linear> part : List.of(sizes.vision(), sizes.projector())) {
      boolean grouped = part.stream().allMatch(l -> l.cols() % group == 0);
      for (ModelSizes.Linear l : part) {
        int shared = grouped && layout.towerBits() < 16 ? group : l.cols();
        for (int i = 0; i < l.count(); i++) {
          out.add(new RandomWeight(layout.towerBits(), l.rows(), l.cols(), shared, out.size()));
        }
      }
    }
    return out;
  }

  /** States of n positions, of tokens that are spread over the vocabulary. */
  private static float[] rows(PackedDecoder.Session session, TensorRows table, int at, int n) {
    DecoderShape shape = session.shape();
    int[] positions = new int[n];
    Arrays.setAll(positions, i -> at + i);
    float[] x = new float[n * shape.width()];
    for (int i = 0; i < n; i++) {
      int token = Math.floorMod((at + i) * SPREAD, table.rows());
      table.row(token, x, i * shape.width());
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
   * True sizes of published models; of the small student only the decoder.
   *
   * @param layers of the decoder, of which the first are taken, all if it has fewer
   */
  static ModelSizes sizes(String name, int layers) {
    if (ModelSizes.names().contains(name)) {
      return ModelSizes.named(name).layers(layers);
    }
    if (!name.equals(STUDENT)) {
      throw GraceException.user(
          "--shape is '%s'; allowed: %s",
          name, String.join(", ", ModelSizes.names()) + ", " + STUDENT);
    }
    DecoderShape small = new DecoderShape(3, 128, 4, 4, 32, 352, 128, 1e-5f);
    return new ModelSizes(small, true, List.of(), List.of(), 0, 16).layers(layers);
  }
}
