package io.gracebeam.worker.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.worker.engine.libtorch.Children;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Engines in processes of their own, since libraries choose their code once. */
class FingerprintTest {
  private static final int DIGEST = 64;

  /**
   * Prints the digest of the engine that its arguments name, and whether its bits stay the same.
   */
  static final class Child {
    private Child() {}

    public static void main(String[] args) {
      EngineSettings settings =
          EngineSettings.newBuilder().setName(args[0]).setThreads(2).setCompute(args[1]).build();
      EngineHandle engine = Engines.open(settings);
      String again = Fingerprint.of(engine.engine(), engine.device(), engine.compute());
      if (!engine.description().endsWith(", bits " + again)) {
        throw new AssertionError(engine.description() + ", again " + again);
      }
      System.out.println("digest " + engine.digest());
    }
  }

  private static String digest(String name, String compute, Map<String, String> environment)
      throws Exception {
    Map<String, String> all = new HashMap<>(environment);
    all.put("GRACE_LIBTORCH", ""); // the build's own, whose products of floats are OpenBLAS's
    Children.Result result = Children.start(List.of(), all, Child.class.getName(), name, compute);
    assertThat(result.status()).as(result.output()).isZero();
    String last = result.output().lines().reduce("", (a, b) -> b);
    assertThat(last).startsWith("digest ").hasSize("digest ".length() + DIGEST);
    return last;
  }

  @ParameterizedTest
  @ValueSource(strings = {"LibTorch", "PyTorch"})
  void otherCodeForTheSameProcessorIsAnotherEngine(String name) throws Exception {
    String digest = digest(name, "float32", Map.of());
    assertThat(digest(name, "float32", Map.of())).isEqualTo(digest);
    assertThat(digest(name, "float32", Map.of("ATEN_CPU_CAPABILITY", "default")))
        .isNotEqualTo(digest);
  }

  @Test
  void otherProductsOfFloatsAreAnotherEngineInBfloat16Too() throws Exception {
    Map<String, String> oldest = Map.of("OPENBLAS_CORETYPE", "Nehalem");
    String digest = digest("LibTorch", "bfloat16", oldest);
    assertThat(digest("LibTorch", "bfloat16", oldest)).isEqualTo(digest);
    assertThat(digest("LibTorch", "bfloat16", Map.of("OPENBLAS_CORETYPE", "Sandybridge")))
        .isNotEqualTo(digest);
  }
}
