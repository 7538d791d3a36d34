package io.gracebeam.worker.methods.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.LogScaleQuantizer;
import io.gracebeam.worker.kernels.PackedWeight;
import io.gracebeam.worker.kernels.QuantSpec;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.family.llava.LlavaConfig;
import io.gracebeam.worker.methods.model.DecoderSizes;
import io.gracebeam.worker.methods.model.ModelParameters;
import io.gracebeam.worker.methods.model.Part;
import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The registry, the blocks that quantizers are given, and the ones that are built in. */
class QuantizersTest {
  private static final ModelParameters PARAMETERS =
      new LlavaConfig(
              new LlavaConfig.Vision(16, 8, 8, 2, 2, 16, 8, 1e-5),
              new DecoderSizes(10, 8, 4, 2, 2, 4, 16, 64, 1e-5, 10000),
              3,
              4,
              -2,
              true,
              1,
              2,
              0,
              true,
              false)
          .parameters();
  private static final String LAYER = "language_model.model.layers.3.";
  private static final String TOWER = "vision_tower.vision_model.encoder.layers.0.";

  @TempDir Path root;

  /** A second quantizer of a name that is taken. */
  public static final class Twin implements Quantizer {
    /** For the service loader. */
    public Twin() {}

    @Override
    public String name() {
      return "rtn";
    }

    @Override
    public Set<Statistic> needs() {
      return Set.of();
    }

    @Override
    public QuantizedBlock quantize(Block block, Statistics statistics, QuantScheme scheme) {
      return new QuantizedBlock(Map.of(), Map.of());
    }
  }

  /** A class path with one more entry for the service loader. */
  private URLClassLoader with(String implementation) throws IOException {
    Path services = root.resolve("META-INF/services");
    Files.createDirectories(services);
    Files.writeString(services.resolve(Quantizer.class.getName()), implementation + "\n");
    return new URLClassLoader(new URL[] {root.toUri().toURL()}, Quantizer.class.getClassLoader());
  }

  @Test
  void anUnknownNameListsWhatThereIs() {
    assertThatThrownBy(() -> Quantizers.get("gptq"))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER))
        .hasMessage(
            "quantizer: 'gptq' is unknown; allowed: mse, needs-calibration, reversed-columns, rtn,"
                + " toward-zero, trained");
    assertThat(Quantizers.get("trained").needs()).containsExactly(Statistic.TRAINED_SCALES);
  }

  @Test
  void twoOfOneNameAreRefused() throws IOException {
    try (URLClassLoader loader = with(Twin.class.getName())) {
      assertThatThrownBy(() -> Quantizers.get("mse", loader))
          .isInstanceOfSatisfying(
              GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.ENVIRONMENT))
          .hasMessageContaining("two plug-ins have the name 'rtn'")
          .hasMessageContaining(RoundToNearest.class.getName())
          .hasMessageContaining(Twin.class.getName());
    }
  }

  @Test
  void oneWhoseClassIsMissingIsRefused() throws IOException {
    try (URLClassLoader loader = with("io.gracebeam.Gone")) {
      assertThatThrownBy(() -> Quantizers.get("mse", loader))
          .isInstanceOfSatisfying(
              GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.ENVIRONMENT))
          .hasMessageContaining("io.gracebeam.Gone")
          .hasMessageContaining("META-INF/services/" + Quantizer.class.getName());
    }
  }

  private static Tensor tensor(long... shape) {
    int n = 1;
    for (long size : shape) {
      n *= (int) size;
    }
    float[] values = new float[n];
    Random random = new Random(n);
    for (int i = 0; i < n; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return Tensor.of(shape, values);
  }

  private static Map<String, Tensor> model() {
    Map<String, Tensor> out = new LinkedHashMap<>();
    for (String name : List.of("q", "k", "v", "o")) {
      out.put(LAYER + "self_attn." + name + "_proj.weight", tensor(8, 8));
    }
    out.put(LAYER + "input_layernorm.weight", tensor(8));
    out.put(LAYER + "post_attention_layernorm.weight", tensor(8));
    out.put(LAYER + "mlp.gate_proj.weight", tensor(16, 8));
    out.put(LAYER + "mlp.up_proj.weight", tensor(16, 8));
    out.put(LAYER + "mlp.down_proj.weight", tensor(8, 16));
    out.put("language_model.model.norm.weight", tensor(8));
    out.put("language_model.lm_head.weight", tensor(10, 8));
    out.put(TOWER + "self_attn.q_proj.weight", tensor(8, 8));
    out.put(TOWER + "layer_norm1.weight", tensor(8));
    out.put(TOWER + "mlp.fc2.weight", tensor(8, 16));
    out.put("multi_modal_projector.linear_1.weight", tensor(8, 8));
    out.put("multi_modal_projector.linear_2.weight", tensor(8, 8));
    return out;
  }

  private static Map<String, Optional<String>> predecessors(Block block) {
    Map<String, Optional<String>> out = new LinkedHashMap<>();
    block.linears().forEach(l -> out.put(l.weight(), l.precededBy()));
    return out;
  }

  @Test
  void blocksKnowWhatPrecedesTheirLinears() {
    List<Block> blocks = Blocks.of(model(), PARAMETERS, EnumSet.allOf(Part.class));
    assertThat(blocks)
        .extracting(Block::name)
        .containsExactly(
            "language_model.model.layers.3",
            "language_model.lm_head",
            "vision_tower.vision_model.encoder.layers.0",
            "multi_modal_projector");
    assertThat(predecessors(blocks.get(0)))
        .hasSize(7)
        .containsEntry(
            LAYER + "self_attn.k_proj.weight", Optional.of(LAYER + "input_layernorm.weight"))
        .containsEntry(
            LAYER + "self_attn.o_proj.weight", Optional.of(LAYER + "self_attn.v_proj.weight"))
        .containsEntry(
            LAYER + "mlp.up_proj.weight", Optional.of(LAYER + "post_attention_layernorm.weight"))
        .containsEntry(LAYER + "mlp.down_proj.weight", Optional.of(LAYER + "mlp.up_proj.weight"));
    assertThat(blocks.get(0).tensors()).hasSize(9);
    assertThat(predecessors(blocks.get(1)).values())
        .containsExactly(Optional.of("language_model.model.norm.weight"));
    assertThat(blocks.get(1).tensors()).containsKey("language_model.model.norm.weight");
    assertThat(predecessors(blocks.get(2)).values())
        .containsExactly(Optional.of(TOWER + "layer_norm1.weight"), Optional.empty());
    assertThat(blocks.get(3).linears()).hasSize(2);
    assertThat(Blocks.of(model(), PARAMETERS, EnumSet.of(Part.DECODER))).hasSize(1);
  }

  @ParameterizedTest
  @CsvSource({"rtn,4,4,false", "mse,3,8,false", "rtn,2,-1,false", "mse,8,4,true"})
  void builtInOnesGiveWhatTheKernelsDequantize(
      String name, int bits, int group, boolean perTensor) {
    QuantScheme scheme = new QuantScheme(bits, group, perTensor);
    Quantizer quantizer = Quantizers.get(name);
    assertThat(quantizer.needs()).isEmpty();
    for (Block block : Blocks.of(model(), PARAMETERS, EnumSet.allOf(Part.class))) {
      QuantizedBlock made = quantizer.quantize(block, Statistics.none(), scheme);
      made.check(name, block, scheme);
      assertThat(made.changed()).isEmpty();
      for (Linear linear : block.linears()) {
        float[] w = block.values(linear);
        QuantSpec spec = scheme.spec(linear);
        float[] theta =
            name.equals("rtn")
                ? LogScaleQuantizer.absmaxLogScales(w, linear.rows(), linear.cols(), spec)
                : LogScaleQuantizer.searchLogScales(w, linear.rows(), linear.cols(), spec);
        float[] expected = new float[w.length];
        LogScaleQuantizer.fakeQuantize(w, theta, linear.rows(), linear.cols(), spec, expected);
        assertThat(made.matrices().get(linear.weight()).dequantize())
            .as(linear.weight())
            .usingComparatorWithPrecision(0f)
            .containsExactly(expected);
      }
    }
  }

  @Test
  void trainedScalesMustFit() {
    Block block = Blocks.of(model(), PARAMETERS, EnumSet.of(Part.DECODER)).getFirst();
    QuantScheme scheme = new QuantScheme(4, 4, false);
    Quantizer trained = Quantizers.get("trained");
    assertThatThrownBy(() -> trained.quantize(block, Statistics.none(), scheme))
        .hasMessageContaining("the trained state has no log-scales for " + LAYER)
        .hasMessageContaining("calls for 16");
    Map<String, float[]> three = new LinkedHashMap<>();
    block.linears().forEach(l -> three.put(l.weight(), new float[3]));
    Statistics wrong = new Statistics(three, Map.of());
    assertThatThrownBy(() -> trained.quantize(block, wrong, scheme))
        .hasMessageContaining("has 3 log-scales");
  }

  @Test
  void trainedScalesHaveNoZeroPoints() {
    Block block = Blocks.of(model(), PARAMETERS, EnumSet.of(Part.DECODER)).getFirst();
    QuantScheme asymmetric = new QuantScheme(4, 4, false, false);
    Quantizer trained = Quantizers.get("trained");
    assertThatThrownBy(() -> trained.quantize(block, Statistics.none(), asymmetric))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.USER))
        .hasMessageContaining("trained scales have no zero points");
    QuantizedBlock made =
        Quantizers.get("toward-zero").quantize(block, Statistics.none(), asymmetric);
    assertThatThrownBy(() -> made.check("toward-zero", block, asymmetric))
        .hasMessageContaining("without zero points; called for is")
        .hasMessageEndingWith("with zero points");
  }

  @Test
  void whatIsMissingOrOfAnotherFormIsABugOfTheQuantizer() {
    Block block = Blocks.of(model(), PARAMETERS, EnumSet.of(Part.HEAD)).getFirst();
    QuantScheme scheme = new QuantScheme(4, 4, false);
    assertThatThrownBy(() -> new QuantizedBlock(Map.of(), Map.of()).check("x", block, scheme))
        .hasMessage("quantizer x left out language_model.lm_head.weight");
    QuantizedBlock made =
        Quantizers.get("rtn").quantize(block, Statistics.none(), new QuantScheme(4, 8, false));
    assertThatThrownBy(() -> made.check("rtn", block, scheme))
        .hasMessageEndingWith(
            "as 10 x 8 of 4 bits in groups of 8 without zero points; called for is 10 x 8 of 4 bits"
                + " in groups of 4 without zero points");
    QuantizedBlock more =
        new QuantizedBlock(
            new RoundToNearest().quantize(block, Statistics.none(), scheme).matrices(),
            Map.of("language_model.model.norm.weight", tensor(7)));
    assertThatThrownBy(() -> more.check("rtn", block, scheme))
        .hasMessageContaining("changed language_model.model.norm.weight");
  }

  @Test
  void aColumnOrderIsUndone() {
    byte[] codes = {1, 2, 3, 4, -1, -2, -3, -4};
    PackedWeight weight =
        PackedWeight.pack(codes, new float[] {1, 10, 1, 10}, 2, 4, new QuantSpec(4, 2, false));
    QuantizedMatrix matrix = new QuantizedMatrix(weight, Optional.of(new int[] {2, 0, 3, 1}));
    assertThat(matrix.dequantize()).containsExactly(2, 40, 1, 30, -2, -40, -1, -30);
    assertThatThrownBy(() -> new QuantizedMatrix(weight, Optional.of(new int[] {2, 0, 3, 3})))
        .hasMessageContaining("names 3 of 4 columns");
  }
}
