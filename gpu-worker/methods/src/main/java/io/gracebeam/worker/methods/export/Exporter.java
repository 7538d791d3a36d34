package io.gracebeam.worker.methods.export;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import io.gracebeam.worker.methods.checkpoint.Checkpoint;
import io.gracebeam.worker.methods.checkpoint.CheckpointWriter;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.model.LlavaConfig;
import io.gracebeam.worker.methods.model.Part;
import io.gracebeam.worker.methods.quantize.QuantSpecs;
import io.gracebeam.worker.methods.training.StateFile;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Writes what users deploy: a compressed-tensors folder in the format pack-quantized (the decoder's
 * linears; head, vision tower and projector where the variant gives them bits; symmetric, float32
 * scales, as the model is float32), or a dense folder. What was written is read back and compared
 * weight by weight.
 */
public final class Exporter {
  private static final int FULL = 16;
  private static final String EMBEDDING = "language_model.model.embed_tokens.weight";
  private static final String HEAD = "language_model.lm_head.weight";

  private Exporter() {}

  /**
   * Runs the work. Input by role: {@code trained} (trained folder) or {@code model}.
   *
   * @return measures: bytes of the weights, bits per quantized weight, quantized tensors
   * @throws GraceException user, for an unknown format or scale source, or a group size that does
   *     not divide; bug, if a weight does not survive the round trip
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
    LlavaConfig config = LlavaConfig.read(from);
    Map<String, Tensor> dense = new LinkedHashMap<>(Checkpoint.load(from).tensors());
    Map<String, PackedWeight> packed = new LinkedHashMap<>();
    Map<String, float[]> expected = new HashMap<>();
    SortedMap<Part, Scheme.Bits> parts = new TreeMap<>();
    if (work.getVariant().getQuantized()) {
      parts = parts(work.getVariant(), config.untied());
      boolean untie = config.tied() && parts.containsKey(Part.HEAD);
      if (untie) {
        config = config.untied();
        dense.put(HEAD, dense.get(EMBEDDING));
      }
      quantize(work, source, parts, dense, packed, expected);
      if (untie) {
        // No reader makes packed embeddings: the table is written as the numbers that the head
        // packs.
        dense.put(EMBEDDING, Tensor.of(dense.get(HEAD).shape(), expected.get(HEAD)));
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
    if (pack && packed.isEmpty()) {
      throw GraceException.user(
          "variant %s is not quantized; allowed export format is dense",
          work.getVariant().getName());
    }
    SortedMap<String, Tensor> out = new TreeMap<>();
    dense.forEach(
        (name, t) -> {
          PackedWeight w = packed.get(name);
          if (w == null) {
            out.put(name, t.dtype().floating() ? Tensor.of(t.shape(), t.floats()) : t);
          } else if (pack) {
            put(out, name, w);
          } else {
            out.put(name, Tensor.of(t.shape(), w.dequantize()));
          }
        });
    Files2.folder(outDir);
    config.write(outDir);
    CheckpointWriter.write(outDir, out);
    Files2.copySideFiles(from, outDir);
    int headDim = config.text().headDim();
    if (pack) {
      Variant v = work.getVariant();
      Scheme.of(parts, bits(v.hasKvBits(), v.getKvBits())).addTo(outDir, headDim);
    }
    verify(outDir, pack ? headDim : 0, expected, dense);
    progress.report(1, "exported %d quantized weights".formatted(packed.size()));
    return measures(out, packed);
  }

  /**
   * Bits and group sizes of what is quantized. Parts beside the decoder have groups of its size
   * where that divides all their input widths, else one scale per row.
   */
  private static SortedMap<Part, Scheme.Bits> parts(Variant v, LlavaConfig config) {
    SortedMap<Part, Scheme.Bits> out = new TreeMap<>();
    int size = v.getPerTensor() ? -1 : v.getGroupSize();
    out.put(Part.DECODER, new Scheme.Bits(v.getBits(), size));
    Map<Part, Integer> others =
        Map.of(
            Part.HEAD, bits(v.hasHeadBits(), v.getHeadBits()),
            Part.VISION, bits(v.hasVisionBits(), v.getVisionBits()),
            Part.PROJECTOR, bits(v.hasProjectorBits(), v.getProjectorBits()));
    others.forEach(
        (part, bits) -> {
          if (bits != FULL) {
            List<Integer> cols =
                config.parameterShapes().entrySet().stream()
                    .filter(e -> Part.of(e.getKey()).equals(Optional.of(part)))
                    .map(e -> (int) e.getValue()[1])
                    .toList();
            out.put(part, new Scheme.Bits(bits, group(size, cols)));
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

  private static void quantize(
      ExportWork work,
      Path source,
      Map<Part, Scheme.Bits> parts,
      Map<String, Tensor> dense,
      Map<String, PackedWeight> packed,
      Map<String, float[]> expected) {
    Variant v = work.getVariant();
    SortedMap<String, float[]> state =
        work.getScales().equals("trained") ? StateFile.read(source.resolve(StateFile.FILE)) : null;
    dense.forEach(
        (name, t) -> {
          Part part = Part.of(name).filter(parts::containsKey).orElse(null);
          if (part == null) {
            return;
          }
          int rows = (int) t.shape()[0];
          int cols = (int) t.shape()[1];
          Scheme.Bits b = parts.get(part);
          boolean decoder = part == Part.DECODER;
          QuantSpec spec =
              QuantSpecs.of(name, rows, cols, b.bits(), b.size(), decoder && v.getPerTensor());
          float[] w = t.floats();
          float[] theta =
              decoder && state != null
                  ? state.get("theta." + name)
                  : roundedScales(work.getScales(), w, rows, cols, spec);
          if (theta == null || theta.length != spec.groups(rows, cols)) {
            throw GraceException.data(
                "the trained state has %s log-scales for %s; variant %s calls for %d",
                theta == null ? "no" : Integer.toString(theta.length),
                name,
                v.getName(),
                spec.groups(rows, cols));
          }
          packed.put(name, PackedWeight.quantize(w, theta, rows, cols, spec));
          float[] what = new float[w.length];
          LogScaleQuantizer.fakeQuantize(w, theta, rows, cols, spec, what);
          expected.put(name, what);
        });
  }

  /**
   * Log-scales of rounding after training: the largest weight's, or those of least squared error.
   * Parts of a trained model that have 8 bits take the largest weight's, since the search's grid
   * has no ratio at 1 and clipping wins nothing there.
   */
  private static float[] roundedScales(
      String scales, float[] w, int rows, int cols, QuantSpec spec) {
    return switch (scales) {
      case "rtn" -> LogScaleQuantizer.absmaxLogScales(w, rows, cols, spec);
      case "", "mse" -> LogScaleQuantizer.searchLogScales(w, rows, cols, spec);
      case "trained" ->
          spec.bits() == 8
              ? LogScaleQuantizer.absmaxLogScales(w, rows, cols, spec)
              : LogScaleQuantizer.searchLogScales(w, rows, cols, spec);
      default ->
          throw GraceException.user("export scales '%s'; allowed are trained, rtn, mse", scales);
    };
  }

  private static void put(SortedMap<String, Tensor> out, String name, PackedWeight w) {
    out.put(
        name + "_packed", Tensor.of(new long[] {w.rows(), w.words().length / w.rows()}, w.words()));
    out.put(
        name + "_scale", Tensor.of(new long[] {w.rows(), w.cols() / w.groupSize()}, w.scales()));
    out.put(name + "_shape", Tensor.of(new long[] {2}, new long[] {w.rows(), w.cols()}));
  }

  /** Compares what was written; a head width of 0 stands for a dense folder. */
  private static void verify(
      Path folder, int headDim, Map<String, float[]> expected, Map<String, Tensor> dense) {
    Map<String, Tensor> back = Checkpoint.load(folder).tensors();
    Map<String, PackedWeight> packed =
        headDim > 0 ? PackedModel.packedWeights(Scheme.read(folder, headDim), back) : Map.of();
    List<String> wrong = new ArrayList<>();
    dense.forEach(
        (name, t) -> {
          float[] want = expected.containsKey(name) ? expected.get(name) : t.floats();
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
      Map<String, Tensor> out, Map<String, PackedWeight> packed) {
    SortedMap<String, Double> m = new TreeMap<>();
    m.put("weightBytes", (double) out.values().stream().mapToLong(t -> t.data().limit()).sum());
    m.put("quantizedTensors", (double) packed.size());
    if (!packed.isEmpty()) {
      long bytes = packed.values().stream().mapToLong(PackedWeight::bytes).sum();
      long weights = packed.values().stream().mapToLong(w -> (long) w.rows() * w.cols()).sum();
      m.put("bitsPerQuantizedWeight", 8.0 * bytes / weights);
    }
    return m;
  }
}
