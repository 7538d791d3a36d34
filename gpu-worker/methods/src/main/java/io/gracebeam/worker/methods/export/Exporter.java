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
import io.gracebeam.worker.methods.training.Files2;
import io.gracebeam.worker.methods.training.Progress;
import io.gracebeam.worker.methods.training.StateFile;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Writes what users deploy: a compressed-tensors folder in the format pack-quantized (decoder
 * linears only, symmetric, float32 scales, as the model is float32), or a dense folder. What was
 * written is read back and compared weight by weight.
 */
public final class Exporter {
  private static final List<String> LINEARS =
      List.of("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj");

  private Exporter() {}

  /**
   * Runs the work. Input by role: {@code trained} (trained folder) or {@code model}.
   *
   * @return measures: bytes of the weights, bits per quantised weight, quantised tensors
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
          "%s is quantised already; allowed is a dense model", from.getFileName());
    }
    LlavaConfig config = LlavaConfig.read(from);
    Map<String, Tensor> dense = Checkpoint.load(from).tensors();
    Map<String, PackedWeight> packed = new LinkedHashMap<>();
    Map<String, float[]> expected = new HashMap<>();
    if (work.getVariant().getQuantized()) {
      quantize(work, source, dense, packed, expected);
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
          "variant %s is not quantised; allowed export format is dense",
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
    if (pack) {
      scheme(work.getVariant()).addTo(outDir);
    }
    verify(outDir, pack, expected, dense);
    progress.report(1, "exported %d quantised weights".formatted(packed.size()));
    return measures(out, packed);
  }

  /** Whether a weight is one of the decoder's linears, by canonical name. */
  static boolean quantizable(String name) {
    if (!name.startsWith("language_model.model.layers.") || !name.endsWith(".weight")) {
      return false;
    }
    String[] parts = name.split("\\.");
    return LINEARS.contains(parts[parts.length - 2]);
  }

  private static Scheme scheme(Variant v) {
    return new Scheme(v.getBits(), v.getPerTensor() ? -1 : v.getGroupSize());
  }

  private static void quantize(
      ExportWork work,
      Path source,
      Map<String, Tensor> dense,
      Map<String, PackedWeight> packed,
      Map<String, float[]> expected) {
    Variant v = work.getVariant();
    SortedMap<String, float[]> state =
        work.getScales().equals("trained") ? StateFile.read(source.resolve(StateFile.FILE)) : null;
    dense.forEach(
        (name, t) -> {
          if (!quantizable(name)) {
            return;
          }
          int rows = (int) t.shape()[0];
          int cols = (int) t.shape()[1];
          QuantSpec spec = spec(v, name, rows, cols);
          float[] w = t.floats();
          float[] theta =
              switch (work.getScales()) {
                case "trained" -> state.get("theta." + name);
                case "rtn" -> LogScaleQuantizer.absmaxLogScales(w, rows, cols, spec);
                case "", "mse" -> LogScaleQuantizer.searchLogScales(w, rows, cols, spec);
                default ->
                    throw GraceException.user(
                        "export scales '%s'; allowed are trained, rtn, mse", work.getScales());
              };
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

  private static QuantSpec spec(Variant v, String name, int rows, int cols) {
    int g = v.getGroupSize();
    if (!v.getPerTensor() && g != -1 && (g < 1 || cols % g != 0)) {
      throw GraceException.user(
          "quantization.group_size %d does not divide the input width %d of %s; allowed are its divisors, or -1 for one group per row",
          g, cols, name);
    }
    return QuantSpec.of(v.getBits(), g, v.getPerTensor(), rows, cols);
  }

  private static void put(SortedMap<String, Tensor> out, String name, PackedWeight w) {
    out.put(
        name + "_packed", Tensor.of(new long[] {w.rows(), w.words().length / w.rows()}, w.words()));
    out.put(
        name + "_scale", Tensor.of(new long[] {w.rows(), w.cols() / w.groupSize()}, w.scales()));
    out.put(name + "_shape", Tensor.of(new long[] {2}, new long[] {w.rows(), w.cols()}));
  }

  private static void verify(
      Path folder, boolean pack, Map<String, float[]> expected, Map<String, Tensor> dense) {
    Map<String, Tensor> back = Checkpoint.load(folder).tensors();
    Map<String, PackedWeight> packed = pack ? PackedModel.packedWeights(folder, back) : Map.of();
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
