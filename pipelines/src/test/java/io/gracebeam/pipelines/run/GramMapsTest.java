package io.gracebeam.pipelines.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.pipelines.plan.RunPlan;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.Variants;
import io.gracebeam.proto.v1.Models;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.transforms.stages.GramMatrix;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.IntToDoubleFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GramMapsTest {
  private static final int EXAMPLE = 3;
  private static final Optional<ShownPhoto> PHOTO =
      Optional.of(new ShownPhoto(EXAMPLE, "data:image/png;base64,AA=="));

  @TempDir Path folder;

  private static RunPlan plan() {
    Recipe recipe =
        Recipe.newBuilder()
            .setModels(Models.newBuilder().setTeacher("t").setStudent("s"))
            .addVariants(Variants.preset("bf16"))
            .addVariants(Variants.preset("grace-int4"))
            .addSeeds(0)
            .build();
    RunPlan.Sizes sizes = new RunPlan.Sizes(5, Map.of(), OptionalInt.of(EXAMPLE));
    return RunPlan.of(recipe, sizes, Optional.empty());
  }

  /**
   * A unit file of two examples, the first refused, the second with one token of top-k form.
   *
   * @param bf16 whether values are cut to 16 bits
   * @param entry value of the upper triangle by {@code row * n + column}
   */
  private Path unit(String name, int n, boolean bf16, IntToDoubleFunction entry) throws Exception {
    byte[] refused = "no image".getBytes(StandardCharsets.UTF_8);
    int token = 20 + 4 + 2;
    int triangle = n * (n + 1) / 2 * (bf16 ? 2 : 4);
    int bytes = 64 + 32 + refused.length + token + triangle;
    ByteBuffer data = ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    data.put("GSIG".getBytes(StandardCharsets.US_ASCII)).putInt(1).putInt(2).putInt(300).putInt(1);
    data.putFloat(1).putInt(bf16 ? 1 : 2).putInt(n).putLong(EXAMPLE - 1).putInt(2).putInt(0);
    data.putLong(bytes).putLong(0);
    data.putLong(96).putInt(refused.length).putInt(1);
    data.putLong(96 + refused.length).putInt(1).putInt(0);
    data.put(refused).position(data.position() + token);
    for (int i = 0; i < n; i++) {
      for (int j = i; j < n; j++) {
        float value = (float) entry.applyAsDouble(i * n + j);
        if (bf16) {
          data.putShort((short) (Float.floatToIntBits(value) >>> 16));
        } else {
          data.putFloat(value);
        }
      }
    }
    assertThat(data.hasRemaining()).isFalse();
    Path artifact = Files.createDirectories(folder.resolve(name));
    Files.write(artifact.resolve("signals.gsig"), data.array());
    return artifact;
  }

  private static JsonNode gram(Map<String, Path> folders) {
    ObjectNode report = new ObjectMapper().createObjectNode();
    GramMaps.add(report, plan(), folders, PHOTO);
    return report.path("gram");
  }

  @Test
  void readsBothTrianglesInEitherWidth() throws Exception {
    for (boolean bf16 : new boolean[] {false, true}) {
      Path unit = unit("unit" + bf16, 3, bf16, i -> 0.25 * i - 1);
      GramMatrix matrix = GramMatrix.read(unit, EXAMPLE).get(0);
      assertThat(matrix.tokens()).isEqualTo(3);
      assertThat(matrix.at(0, 0)).isEqualTo(-1);
      assertThat(matrix.at(0, 2)).isEqualTo(-0.5);
      assertThat(matrix.at(2, 0)).isEqualTo(-0.5);
      assertThat(matrix.at(2, 2)).isEqualTo(1);
      assertThat(GramMatrix.read(unit, EXAMPLE - 1)).as("refused").isEmpty();
      assertThat(GramMatrix.read(unit, EXAMPLE + 1)).as("beyond the unit").isEmpty();
    }
  }

  @Test
  void damagedFilesAreDataErrors() throws Exception {
    Path unit = unit("cut", 3, false, i -> i);
    Path file = unit.resolve("signals.gsig");
    byte[] whole = Files.readAllBytes(file);
    Files.write(file, java.util.Arrays.copyOf(whole, whole.length - 1));
    assertThatThrownBy(() -> GramMatrix.read(unit, EXAMPLE))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("out of range");
    Files.write(file, new byte[10]);
    assertThatThrownBy(() -> GramMatrix.read(unit, EXAMPLE)).isInstanceOf(GraceException.class);
  }

  @Test
  void mapsCarryTheirModelAndTheirAlignment() throws Exception {
    Map<String, Path> folders = new HashMap<>();
    folders.put("gram/teacher", unit("t", 2, false, i -> i == 1 ? -1 : 1));
    folders.put("gram/bf16", unit("b", 2, false, i -> i == 1 ? -3 : 3));
    folders.put("gram/grace-int4", unit("g", 2, true, i -> i == 0 ? 2 : 0));
    JsonNode gram = gram(folders);
    assertThat(gram.path("photo").asText()).startsWith("data:image/png");
    assertThat(gram.path("example").asInt()).isEqualTo(EXAMPLE);
    assertThat(gram.path("maps").findValuesAsText("name"))
        .containsExactly("teacher", "bf16", "grace-int4");
    assertThat(gram.path("maps").findValuesAsText("bits")).containsExactly("16", "16", "4");
    assertThat(gram.at("/maps/1/values").toString()).isEqualTo("[3.0,-3.0,-3.0,3.0]");
    assertThat(gram.at("/maps/0").has("alignment")).isFalse();
    assertThat(gram.at("/maps/1/alignment").asDouble()).isEqualTo(1);
    assertThat(gram.at("/maps/2/alignment").asDouble()).isEqualTo(0.5);
  }

  @Test
  void largeMapsAreMeansOfBlocks() throws Exception {
    int n = 2 * GramMaps.MOST_SIDE - 1;
    Path unit = unit("large", n, false, i -> i / n == i % n ? 1 : 0.001 * (i % 7));
    JsonNode map = gram(Map.of("gram/bf16", unit)).at("/maps/0");
    int side = map.path("n").asInt();
    JsonNode values = map.path("values");
    assertThat(side).isEqualTo(GramMaps.MOST_SIDE);
    assertThat(map.path("tokens").asInt()).isEqualTo(n);
    assertThat(values.size()).isEqualTo(side * side);
    // Rows 0 and 1: 1, 0.001 twice, 1.
    assertThat(values.get(0).asDouble()).isCloseTo(0.5005, within(1e-9));
    assertThat(values.get(side * side - 1).asDouble()).as("one token alone").isEqualTo(1);
    assertThat(values.get(5).asDouble()).isEqualTo(values.get(5 * side).asDouble());
  }

  @Test
  void missingStagesLeaveFewerMapsOrNone() throws Exception {
    Map<String, Path> one = Map.of("gram/bf16", unit("only", 2, false, i -> 1));
    assertThat(gram(one).path("maps").findValuesAsText("name")).containsExactly("bf16");
    assertThat(gram(one).at("/maps/0").has("alignment")).isFalse();
    Path bad = unit("nan", 2, false, i -> Double.NaN);
    assertThat(gram(Map.of("gram/bf16", bad)).isMissingNode()).isTrue();
    assertThat(gram(Map.of()).isMissingNode()).isTrue();
    ObjectNode report = new ObjectMapper().createObjectNode();
    GramMaps.add(report, plan(), one, Optional.empty());
    assertThat(report.isEmpty()).isTrue();
  }
}
