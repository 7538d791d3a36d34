package io.gracebeam.worker.methods.export;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.worker.MemoryPlanner;
import io.gracebeam.worker.kernels.DecoderBytes;
import io.gracebeam.worker.kernels.PackedDecoder;
import io.gracebeam.worker.methods.family.ModelSizes;
import io.gracebeam.worker.methods.model.Generator;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * The memory that layouts of a model need for decoding one sequence: the decoder's weights, cache
 * and scratch space as the kernels in C reserve them, and the other parts as packed weights or
 * plain numbers. An embedding table that is not the head takes none: it stays in its file, of which
 * a row is read for each token. Not counted: the process itself (the JVM: about 95 MB with the
 * kernels alone), what the engine needs for a moment while it runs the vision tower, and biases of
 * queries, keys and values (0.02 % where a model has them).
 */
public final class MemoryPlan implements MemoryPlanner {

  /**
   * Bits of the parts; 16 means not quantized.
   *
   * @param kv bits of cached keys and values
   */
  public record Layout(String name, int decoder, int head, int vision, int projector, int kv) {}

  /** For the service loader. */
  public MemoryPlan() {}

  @Override
  public List<String> shapes() {
    return ModelSizes.names();
  }

  @Override
  public List<Row> ofModel(Path folder, Question question) {
    return rows(ModelSizes.of(folder), question);
  }

  @Override
  public List<Row> ofShape(String name, Question question) {
    return rows(ModelSizes.named(name), question);
  }

  /** Each layout has the parts of the one before it. */
  private static List<Layout> layouts(ModelSizes sizes, int bits) {
    return List.of(
        new Layout(sizes.numberBits() + " bit", 16, 16, 16, 16, 16),
        new Layout("decoder INT" + bits, bits, 16, 16, 16, 16),
        new Layout("+ head INT8", bits, 8, 16, 16, 16),
        new Layout("+ vision tower and projector INT8", bits, 8, 8, 8, 16),
        new Layout("+ keys and values INT8", bits, 8, 8, 8, 8));
  }

  private static List<Row> rows(ModelSizes sizes, Question question) {
    int threads = Runtime.getRuntime().availableProcessors();
    List<Row> out = new ArrayList<>();
    for (Layout layout : layouts(sizes, question.bits())) {
      out.add(row(sizes, layout, question.groupSize(), limits(layout, question), threads));
    }
    return out;
  }

  private static PackedDecoder.Limits limits(Layout layout, Question question) {
    int positions = question.positions();
    if (positions < 1) {
      throw GraceException.user("--positions is %d; allowed: 1 and more", positions);
    }
    int rows = Math.min(positions, Generator.PROMPT_ROWS);
    return new PackedDecoder.Limits(1, positions, rows, layout.kv());
  }

  /**
   * One layout.
   *
   * @param size of groups; -1 for one scale per row
   * @param threads of the kernels
   */
  public static Row row(
      ModelSizes sizes, Layout layout, int size, PackedDecoder.Limits limits, int threads) {
    try {
      DecoderBytes.Form layers = form(sizes, layout.decoder(), size);
      List<ModelSizes.Linear> table =
          List.of(new ModelSizes.Linear(1, sizes.decoder().vocab(), sizes.decoder().width()));
      DecoderBytes.Form head = form(sizes, layout.head(), Exporter.group(size, cols(table)));
      long weights =
          DecoderBytes.weights(sizes.decoder(), layers, head)
              + linears(sizes, sizes.vision(), layout.vision(), size)
              + linears(sizes, sizes.projector(), layout.projector(), size)
              + sizes.rest() * sizes.numberBits() / 8;
      return new Row(
          layout.name(),
          weights,
          DecoderBytes.cache(sizes.decoder(), limits),
          DecoderBytes.scratch(sizes.decoder(), limits, layers, head, threads));
    } catch (IllegalArgumentException e) {
      throw GraceException.user("quantization: %s", e.getMessage()).withCause(e);
    }
  }

  /** Scales are as wide as the numbers that are not quantized. */
  private static DecoderBytes.Form form(ModelSizes sizes, int bits, int size) {
    return bits == 16
        ? new DecoderBytes.Form(sizes.numberBits(), -1, false, false)
        : new DecoderBytes.Form(bits, size, sizes.numberBits() == 32, false);
  }

  /** Weights of a part: packed for the kernels, or plain arrays of the engine. */
  private static long linears(
      ModelSizes sizes, List<ModelSizes.Linear> linears, int bits, int size) {
    int group = Exporter.group(size, cols(linears));
    long bytes = 0;
    for (ModelSizes.Linear l : linears) {
      bytes +=
          l.count()
              * (bits == 16
                  ? (long) l.rows() * l.cols() * sizes.numberBits() / 8
                  : DecoderBytes.weight(l.rows(), l.cols(), form(sizes, bits, group)));
    }
    return bytes;
  }

  private static List<Integer> cols(List<ModelSizes.Linear> linears) {
    return linears.stream().map(ModelSizes.Linear::cols).toList();
  }
}
