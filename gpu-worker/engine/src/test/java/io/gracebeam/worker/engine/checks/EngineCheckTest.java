package io.gracebeam.worker.engine.checks;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import com.google.gson.Gson;
import com.google.gson.JsonObject;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.engine.Engines;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What gpu-check runs on a GPU, on the processor. */
class EngineCheckTest {
  private static EngineHandle engine() {
    return Engines.open(EngineSettings.newBuilder().setCompute("float32").setThreads(1).build());
  }

  private static OperatorCases.Case one(Function<NDList, NDArray> function) {
    return new OperatorCases.Case("one", List.of(new Shape(3)), false, function);
  }

  @Test
  void everyOperatorAgreesInBothTypes() {
    CheckReport report = EngineCheck.check(engine(), OperatorCases.all());
    assertThat(report.good()).isTrue();
    JsonObject json = new Gson().fromJson(report.json("x"), JsonObject.class);
    int results = OperatorCases.all().stream().mapToInt(c -> 2 * (1 + c.shapes().size())).sum();
    assertThat(json.getAsJsonArray("rows")).hasSize(results);
    assertThat(json.getAsJsonArray("rows").get(3).getAsJsonObject().keySet())
        .containsExactly("name", "value", "unit", "comparedTo", "ratio");
    assertThat(json.toString())
        .contains("operator linear_bias bfloat16, gradient 2", "\"failures\":[]");
  }

  @Test
  void aWantOfMemoryIsTold() {
    CheckReport report = new CheckReport();
    EngineCheck.checkMemory(engine(), report);
    assertThat(report.good()).isTrue();
    assertThat(report.json("x")).contains("memory, refusals");
  }

  @Test
  void torchsResultsTakeTheCpusPlace() {
    OperatorCases.Case twice = one(x -> x.get(0).mul(2));
    Map<String, Map<String, float[]>> torch =
        Map.of(
            "float32",
            Map.of(
                "one",
                new float[] {0, 1.2884354f, 9},
                "one/0",
                new float[] {2, 2, 2},
                "other",
                new float[3]),
            "bfloat16",
            Map.of("one", new float[3]));
    CheckReport report = EngineCheck.check(engine(), List.of(twice), torch);
    assertThat(report.failures()).isEqualTo(3);
    assertThat(report.json("x"))
        .contains("one float32[2] is 1.97", "one float32, gradient 0[1] is 1.9106")
        .contains("torch's results have 1 of one; allowed: its value and 1 gradients");
  }

  @Test
  void aWrongResultIsAFailureWithItsPlace() {
    CheckReport report =
        EngineCheck.check(
            engine(),
            List.of(
                one(
                    x ->
                        x.get(0).getDataType() == DataType.BFLOAT16
                            ? x.get(0).mul(2)
                            : x.get(0).mul(1))));
    assertThat(report.good()).isFalse();
    assertThat(report.json("x"))
        .contains("operator one float32")
        .contains(
            "one bfloat16[1] is 1.2", "the CPU says 0.64", "one bfloat16, gradient 0[0] is 2");
  }

  @Test
  void anOperatorThatThrowsIsAFailureAndTheRestGoesOn() {
    CheckReport report =
        EngineCheck.check(
            engine(),
            List.of(
                one(x -> x.get(0).median()),
                one(x -> x.get(0).matMul(x.get(0).reshape(3, 1).mul(1).reshape(1, 3))),
                one(x -> x.get(0).neg())));
    assertThat(report.failures()).isEqualTo(4);
    assertThat(report.json("x"))
        .contains("one float32: LibTorch has no NDArray.median", "matmul(")
        .contains("operator one bfloat16, gradient 0");
  }

  @Test
  void theProgramWritesItsFile(@TempDir Path folder) throws Exception {
    Path file = folder.resolve("engine.json");
    Result result = run(file.toString(), "cpu");
    assertThat(result.status()).as(result.output() + result.errors()).isZero();
    assertThat(result.output()).contains("all operators agree");
    assertThat(Files.readString(file)).contains("\"device\": \"LibTorch 2.", " cpu float32");
  }

  @Test
  void errorsAreOneLineWithTheCategorysCode(@TempDir Path folder) throws Exception {
    Result noGpu = run(folder.resolve("a.json").toString(), "cuda:15");
    assertThat(noGpu.status()).isEqualTo(5);
    assertThat(noGpu.errors())
        .startsWith("engine-check: ")
        .contains("allowed: cpu")
        .hasLineCount(1);
    Result noDevice = run(folder.resolve("a.json").toString(), "gpu");
    assertThat(noDevice.status()).isEqualTo(2);
    assertThat(noDevice.errors()).contains("allowed: cpu, cuda:N").hasLineCount(1);
    Result noFolder = run(folder.resolve("no/a.json").toString(), "cpu");
    assertThat(noFolder.status()).isEqualTo(5);
    assertThat(noFolder.errors()).contains("cannot write", "no/a.json").hasLineCount(1);
  }

  private record Result(int status, String output, String errors) {}

  private static Result run(String... arguments) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(System.getProperty("java.home") + "/bin/java");
    command.addAll(List.of("-Xmx512m", "--enable-native-access=ALL-UNNAMED"));
    command.addAll(List.of("-cp", System.getProperty("java.class.path")));
    command.add(EngineCheck.class.getName());
    command.addAll(List.of(arguments));
    Path errors = Files.createTempFile("engine-check", ".txt");
    try {
      Process process = new ProcessBuilder(command).redirectError(errors.toFile()).start();
      String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      int status = process.waitFor();
      String said =
          String.join(
              "\n",
              Files.readAllLines(errors).stream()
                  .filter(line -> !line.startsWith("SLF4J"))
                  .toList());
      return new Result(status, output, said);
    } finally {
      Files.delete(errors);
    }
  }
}
