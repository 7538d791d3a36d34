package io.gracebeam.worker.methods.export;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.methods.checkpoint.Checkpoint;
import io.gracebeam.worker.methods.checkpoint.CheckpointWriter;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.checkpoint.TensorNaming;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.ModelParameters;
import io.gracebeam.worker.methods.model.Part;
import io.gracebeam.worker.methods.quantize.Block;
import io.gracebeam.worker.methods.quantize.Blocks;
import io.gracebeam.worker.methods.quantize.QuantScheme;
import io.gracebeam.worker.methods.quantize.QuantizedBlock;
import io.gracebeam.worker.methods.quantize.QuantizedMatrix;
import io.gracebeam.worker.methods.quantize.Quantizer;
import io.gracebeam.worker.methods.quantize.Quantizers;
import io.gracebeam.worker.methods.quantize.Statistic;
import io.gracebeam.worker.methods.quantize.Statistics;
import io.gracebeam.worker.methods.training.StateFile;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Writes what users deploy: a compressed-tensors folder in the format pack-quantized (the decoder's
 * linears; head, vision tower and projector where the variant gives them bits; float32 scales, as
 * the model is float32), or a dense folder. The codes come from the {@link Quantizer} that the work
 * names. What was written is read back and compared weight by weight.
 */
public final class Exporter {
  private static final int FULL = 16;

  private Exporter() {}

  /**
   * Runs the work. Input by role: {@code trained} (trained folder) or {@code model}.
   *
   * @return measures: bytes of the weights, bits per quantized weight, quantized tensors
   * @throws GraceException user, for an unknown format or quantizer, a quantizer that needs
   *     calibration, or a group size that does not divide; bug, if a weight does not survive the
   *     round trip
   */
  public static SortedMap<String, Double> run(
      ExportWork work, Map<String, Path> inputs, Path outDir, Progress progress) {
    Path source =
        inputs.containsKey("trained") ? inputs.get("trained") : Files2.input(inputs, "model");
    Path from = Files2.modelFolder(source);
    if (Scheme.present(from)) {
      throw GraceException.user(
          "%s is quantized already; allowed is a dense model", from.getFileName());
    }
    ModelFolder model = ModelFolder.open(from);
    ModelConfig config = model.config();
    String embedding = config.names().embedding();
    String head = config.names().head();
    Map<String, Tensor> dense = new LinkedHashMap<>(model.tensors());
    Map<String, QuantizedMatrix> quantized = Map.of();
    SortedMap<Part, QuantScheme> parts = new TreeMap<>();
    if (work.getVariant().getQuantized()) {
      parts = parts(work.getVariant(), config.untied());
      boolean untie = config.tied() && parts.containsKey(Part.HEAD);
      if (untie) {
        config = config.untied();
        dense.put(head, dense.get(embedding));
      }
      quantized = quantize(work, source, config.parameters(), parts, dense);
      if (untie) {
        // No reader makes packed embeddings: the table is written as the numbers that the head
        // packs.
        dense.put(embedding, Tensor.of(dense.get(head).shape(), quantized.get(head).dequantize()));
      }
    }
    boolean pack =
        switch (work.getFormat()) {
          case "pack-quantized" -> true;
          case "", "dense" -> false;
          default ->
              throw GraceException.user(
                  "export format '%s'; allowed are pack-quantized, dense", work.getFormat());
        };
    if (pack && quantized.isEmpty()) {
      throw GraceException.user("the variant is not quantized; allowed export format is dense");
    }
    quantized.forEach(
        (name, matrix) -> {
          if (pack && matrix.order().isPresent()) {
            throw GraceException.user(
                "quantizer %s gives %s a column order, which pack-quantized cannot hold; allowed"
                    + " export format is dense",
                work.getScales(), name);
          }
        });
    SortedMap<String, Tensor> out = tensors(dense, quantized, pack);
    Files2.folder(outDir);
    config.write(outDir);
    CheckpointWriter.write(outDir, out);
    Files2.copySideFiles(from, outDir);
    int headDim = config.text().headDim();
    if (pack) {
      Variant v = work.getVariant();
      Scheme.of(parts, bits(v.hasKvBits(), v.getKvBits()), config).addTo(outDir, config);
    }
    verify(model.family().tensors(), outDir, pack ? headDim : 0, quantized, dense);
    progress.report(1, "exported %d quantized weights".formatted(quantized.size()));
    return measures(out, quantized);
  }

  /** The tensors to write: quantized weights packed or as their numbers, all else as float32. */
  private static SortedMap<String, Tensor> tensors(
      Map<String, Tensor> dense, Map<String, QuantizedMatrix> quantized, boolean pack) {
    SortedMap<String, Tensor> out = new TreeMap<>();
    dense.forEach(
        (name, t) -> {
          QuantizedMatrix w = quantized.get(name);
          if (w == null) {
            out.put(name, t.dtype().floating() ? Tensor.of(t.shape(), t.floats()) : t);
          } else if (pack) {
            put(out, name, w.weight());
          } else {
            out.put(name, Tensor.of(t.shape(), w.dequantize()));
          }
        });
    return out;
  }

  /**
   * Bits and group sizes of what is quantized. Parts beside the decoder have groups of its size
   * where that divides all their input widths, else one scale per row.
   */
  private static SortedMap<Part, QuantScheme> parts(Variant v, ModelConfig config) {
    SortedMap<Part, QuantScheme> out = new TreeMap<>();
    ModelParameters parameters = config.parameters();
    int size = v.getPerTensor() ? -1 : v.getGroupSize();
    boolean symmetric = !v.hasSymmetric() || v.getSymmetric();
    out.put(Part.DECODER, new QuantScheme(v.getBits(), size, v.getPerTensor(), symmetric));
    Map<Part, Integer> others =
        Map.of(
            Part.HEAD, bits(v.hasHeadBits(), v.getHeadBits()),
            Part.VISION, bits(v.hasVisionBits(), v.getVisionBits()),
            Part.PROJECTOR, bits(v.hasProjectorBits(), v.getProjectorBits()));
    others.forEach(
        (part, bits) -> {
          if (bits != FULL) {
            List<Integer> cols =
                parameters.linears(part).stream()
                    .map(name -> (int) parameters.get(name).shape()[1])
                    .toList();
            out.put(part, new QuantScheme(bits, group(size, cols), false, symmetric));
          }
        });
    return out;
  }

  /** A group size where it divides all input widths of a part; else -1, one scale per row. */
  static int group(int size, List<Integer> cols) {
    return size > 0 && cols.stream().allMatch(n -> n % size == 0) ? size : -1;
  }

  private static int bits(boolean given, int bits) {
    return given ? bits : FULL;
  }

  /**
   * Quantizes the parts with the work's quantizer; tensors that it changed replace the dense ones.
   */
  private static Map<String, QuantizedMatrix> quantize(
      ExportWork work,
      Path source,
      ModelParameters parameters,
      Map<Part, QuantScheme> parts,
      Map<String, Tensor> dense) {
    Quantizer quantizer = Quantizers.get(work.getScales());
    Statistics statistics = statistics(quantizer, source);
    Map<String, QuantizedMatrix> out = new LinkedHashMap<>();
    for (Block block : Blocks.of(dense, parameters, parts.keySet())) {
      QuantScheme scheme = parts.get(block.part());
      QuantizedBlock made = quantizer.quantize(block, statistics, scheme);
      made.check(quantizer.name(), block, scheme);
      dense.putAll(made.changed());
      out.putAll(made.matrices());
    }
    return out;
  }

  /** What an export can tell a quantizer. */
  private static Statistics statistics(Quantizer quantizer, Path source) {
    for (Statistic need : quantizer.needs()) {
      if (need != Statistic.TRAINED_SCALES) {
        throw GraceException.user(
            "quantizer %s needs %s; allowed for an export are quantizers that need trained"
                + " log-scales or nothing",
            quantizer.name(), need.words());
      }
    }
    if (quantizer.needs().isEmpty()) {
      return Statistics.none();
    }
    Map<String, float[]> theta = new HashMap<>();
    StateFile.read(source.resolve(StateFile.FILE))
        .forEach(
            (name, values) -> {
              if (name.startsWith(StateFile.LOG_SCALES)) {
                theta.put(name.substring(StateFile.LOG_SCALES.length()), values);
              }
            });
    return new Statistics(theta, Map.of());
  }

  private static void put(SortedMap<String, Tensor> out, String name, PackedWeight w) {
    out.put(
        name + "_packed", Tensor.of(new long[] {w.rows(), w.words().length / w.rows()}, w.words()));
    out.put(
        name + "_scale", Tensor.of(new long[] {w.rows(), w.cols() / w.groupSize()}, w.scales()));
    out.put(name + "_shape", Tensor.of(new long[] {2}, new long[] {w.rows(), w.cols()}));
    if (!w.symmetric()) {
      int groups = w.cols() / w.groupSize();
      int[] words = w.zeroWords();
      out.put(name + "_zero_point", Tensor.of(new long[] {words.length / groups, groups}, words));
    }
  }

  /** Compares what was written; a head width of 0 stands for a dense folder. */
  private static void verify(
      TensorNaming naming,
      Path folder,
      int headDim,
      Map<String, QuantizedMatrix> quantized,
      Map<String, Tensor> dense) {
    Map<String, Tensor> back = Checkpoint.load(folder, naming).tensors();
    Map<String, PackedWeight> packed =
        headDim > 0 ? PackedModel.packedWeights(Scheme.read(folder, headDim), back) : Map.of();
    List<String> wrong = new ArrayList<>();
    dense.forEach(
        (name, t) -> {
          float[] want =
              quantized.containsKey(name) ? quantized.get(name).dequantize() : t.floats();
          float[] got =
              packed.containsKey(name)
                  ? packed.get(name).dequantize()
                  : back.containsKey(name) ? back.get(name).floats() : new float[0];
          if (!same(want, got)) {
            wrong.add(name);
          }
        });
    if (!wrong.isEmpty()) {
      throw GraceException.bug(
          "export: %d weights differ after reading back, first %s", wrong.size(), wrong.getFirst());
    }
  }

  /** Equal values; the two zeros count as equal. */
  private static boolean same(float[] a, float[] b) {
    if (a.length != b.length) {
      return false;
    }
    for (int i = 0; i < a.length; i++) {
      if (a[i] != b[i]) {
        return false;
      }
    }
    return true;
  }

  private static SortedMap<String, Double> measures(
      Map<String, Tensor> out, Map<String, QuantizedMatrix> quantized) {
    SortedMap<String, Double> m = new TreeMap<>();
    m.put("weightBytes", (double) out.values().stream().mapToLong(t -> t.data().limit()).sum());
    m.put("quantizedTensors", (double) quantized.size());
    if (!quantized.isEmpty()) {
      List<PackedWeight> all = quantized.values().stream().map(QuantizedMatrix::weight).toList();
      long bytes = all.stream().mapToLong(PackedWeight::bytes).sum();
      long weights = all.stream().mapToLong(w -> (long) w.rows() * w.cols()).sum();
      m.put("bitsPerQuantizedWeight", 8.0 * bytes / weights);
    }
    return m;
  }
}
