package io.gracebeam.worker.engine.libtorch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.engine.EngineException;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Memory that is not there, libraries that cannot serve, settings out of range. */
class RefusalsTest {
  private static final long MILLIONS = 1L << 21;

  /** What SLF4J and the JVM say. */
  private static final List<String> NOISE =
      List.of("SLF4J(W)", "WARNING: Using incubator", "OpenJDK", "It's highly recommended");

  private final Engine engine = Engine.getEngine(LibTorchEngine.NAME);
  private final NDManager manager = engine.newBaseManager();

  @AfterEach
  void close() {
    manager.close();
  }

  @Test
  void tooMuchMemoryIsAnErrorThatSaysForWhat() {
    assertThatThrownBy(() -> manager.create(new Shape(1L << 42), DataType.FLOAT32))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("out of memory")
        .hasMessageContaining("17592186044416 bytes")
        .hasMessageContaining("float32");
    assertThatThrownBy(() -> manager.create(new Shape(1L << 40, 1L << 40), DataType.FLOAT64))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("no 9671406556917033397649408 bytes");
    assertThat(manager.create(1f).getFloat()).isEqualTo(1f);
  }

  @Test
  void anOperatorWithoutMemoryForItsResultSaysSo() {
    NDArray row = manager.zeros(new Shape(1, MILLIONS));
    NDArray column = manager.zeros(new Shape(MILLIONS, 1));
    assertLacksMemory(
        () -> row.mul(column), "mul.Tensor(float32 (1, 2097152), float32 (2097152, 1))");
    assertLacksMemory(() -> row.add(column), "add(float32 (1, 2097152), float32 (2097152, 1))");
    assertLacksMemory(
        () -> column.matMul(row), "matmul(float32 (2097152, 1), float32 (1, 2097152))");
    assertLacksMemory(() -> row.tile(new long[] {MILLIONS, 1}), "repeat(float32 (1, 2097152)");
    // The engine goes on, and other errors are what they were.
    assertThat(row.sum().getFloat()).isZero();
    assertThatThrownBy(() -> row.matMul(row))
        .isInstanceOf(EngineException.class)
        .hasMessageContaining("failed");
    assertThatThrownBy(() -> row.add(manager.zeros(new Shape(3))))
        .isInstanceOf(EngineException.class);
  }

  private static void assertLacksMemory(ThrowingCallable call, String operator) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.ENVIRONMENT))
        .hasMessageContaining("out of memory in " + operator)
        .hasMessageContaining("17592186044416 bytes");
  }

  @Test
  void aClosedManagerTakesNothing() {
    NDManager own = engine.newBaseManager();
    own.close();
    assertThatThrownBy(() -> own.zeros(new Shape(2)))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("closed");
  }

  @Test
  void aGpuWhereThereIsNone() {
    if (engine.getGpuCount() == 0) {
      assertThatThrownBy(() -> engine.newBaseManager(Device.gpu(0)))
          .isInstanceOf(GraceException.class)
          .hasMessageContaining("CUDA")
          .hasMessageContaining("GRACE_LIBTORCH");
    }
  }

  /** Opens the engine twice, since the second attempt must say the same; for child processes. */
  public static final class Open {
    public static void main(String[] args) {
      String first = attempt();
      String second = attempt();
      System.out.println(first.equals(second) ? first : first + " THEN " + second);
      System.exit(first.equals("opened") ? 0 : 4);
    }

    private static String attempt() {
      try {
        return Engine.getEngine(LibTorchEngine.NAME) == null ? "none" : "opened";
      } catch (GraceException e) {
        return e.category() + ": " + e.getMessage();
      }
    }
  }

  /** The one line of a child process that cannot open the engine. */
  private static String refusal(List<String> options, Path folder) throws Exception {
    Children.Result result =
        Children.start(
            options,
            folder == null ? Map.of() : Map.of("GRACE_LIBTORCH", folder.toString()),
            Open.class.getName());
    assertThat(result.status()).as(result.output()).isEqualTo(4);
    return result
        .output()
        .lines()
        .filter(line -> NOISE.stream().noneMatch(line::startsWith))
        .reduce((a, b) -> a + "\n" + b)
        .orElse("");
  }

  @Test
  void missingLibrariesAreAnEnvironmentError(@TempDir Path folder) throws Exception {
    assertThat(refusal(List.of(), folder))
        .isEqualTo(
            "ENVIRONMENT: GRACE_LIBTORCH names %s, which has no libtorch_cpu.so; allowed: the lib folder of an installed torch",
            folder);
  }

  @Test
  void aFileThatIsNoLibraryIsAnEnvironmentError(@TempDir Path folder) throws Exception {
    Files.writeString(folder.resolve("libtorch_cpu.so"), "not a library");
    assertThat(refusal(List.of(), folder))
        .isEqualTo(
            "ENVIRONMENT: GRACE_LIBTORCH names %s, whose libtorch_cpu.so is no shared library; allowed: the lib folder of an installed torch",
            folder);
    Files.write(folder.resolve("libtorch_cpu.so"), new byte[] {0x7f, 'E', 'L', 'F', 2});
    assertThat(refusal(List.of(), folder))
        .startsWith("ENVIRONMENT: LibTorch: " + folder + "/libtorch_cpu.so could not be loaded (")
        .contains("file too short")
        .endsWith("allowed: libtorch 2.10 or newer for this processor and C library");
  }

  @Test
  void aLibraryOfAnotherProcessorIsAnEnvironmentError(@TempDir Path folder) throws Exception {
    byte[] library = Files.readAllBytes(here("libgomp.so.1"));
    library[18] = (byte) 183; // e_machine: AArch64
    Files.write(folder.resolve("libtorch_cpu.so"), library);
    assertThat(refusal(List.of(), folder))
        .startsWith("ENVIRONMENT: LibTorch: " + folder + "/libtorch_cpu.so could not be loaded (")
        .doesNotContain("\n");
  }

  @Test
  void aLibraryThatLacksFunctionsIsTooOld(@TempDir Path folder) throws Exception {
    Files.copy(here("libgomp.so.1"), folder.resolve("libtorch_cpu.so"));
    Files.copy(here("libc10.so"), folder.resolve("libc10.so"));
    assertThat(refusal(List.of(), folder))
        .isEqualTo(
            "ENVIRONMENT: LibTorch: the libraries in %s lack torch_call_dispatcher; allowed: libtorch 2.10 or newer",
            folder);
  }

  private static Path here(String library) throws IOException {
    Path file = Natives.load().folder().resolve(library);
    // A torch that GRACE_LIBTORCH names has its OpenMP elsewhere or under another name.
    org.junit.jupiter.api.Assumptions.assumeTrue(Files.isRegularFile(file), library);
    return file;
  }

  @ParameterizedTest
  @ValueSource(strings = {"0", "-1", "abc", "1025", "99999999999", ""})
  void threadsOutOfRangeAreAUserError(String threads) throws Exception {
    assertThat(refusal(List.of("-Dgrace.libtorch.threads=" + threads), null))
        .isEqualTo("USER: grace.libtorch.threads is '%s'; allowed: 1 to 1024", threads);
  }

  @Test
  void determinismIsASettingThatCanBeSeen() throws Exception {
    assertThat(refusal(List.of("-Dgrace.libtorch.deterministic=yes"), null))
        .isEqualTo("USER: grace.libtorch.deterministic is 'yes'; allowed: true, false");
    assertThat(((LibTorchEngine) engine).deterministic()).isTrue();
    String put = Put.class.getName();
    assertThat(Children.run(List.of(), put)).contains("put failed");
    assertThat(Children.run(List.of("-Dgrace.libtorch.deterministic=false"), put))
        .contains("put done");
  }

  /** Calls an operator of torch that promises no order; for child processes. */
  public static final class Put {
    public static void main(String[] args) {
      LibTorchEngine engine = (LibTorchEngine) Engine.getEngine(LibTorchEngine.NAME);
      try (LibTorchManager manager = engine.newBaseManager(Device.cpu())) {
        LibTorchArray x = manager.create(new Shape(2), DataType.FLOAT32);
        LibTorchArray index = LibTorchArray.of(manager.create(new long[] {1, 1}));
        Aten.of("put").call().tensor(x).tensor(index).tensor(x).flag(false).array(manager);
        System.out.println("put done");
      } catch (EngineException e) {
        System.out.println("put failed");
      }
    }
  }
}
