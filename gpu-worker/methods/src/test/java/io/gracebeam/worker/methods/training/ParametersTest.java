package io.gracebeam.worker.methods.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import io.gracebeam.proto.v1.Training;
import java.util.HashMap;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** What weight decay and the clipped norm reach. */
class ParametersTest {
  private static final Stepper.Weights WEIGHTS = new Stepper.Weights(0.5, 1, "test");
  private static final double RATE = 0.01;

  /** Of LLaVA's parameters those that are no matrices: norms, biases, the class token. */
  private static final String VECTORS =
      ".*(norm|norm1|norm2|layrnorm)\\.(weight|bias)|.*\\.bias|.*\\.class_embedding";

  @Test
  void withoutGradientOnlyMatricesDecay() {
    try (TinyStudent s = new TinyStudent(1)) {
      Map<String, float[]> before = new HashMap<>();
      s.model
          .masters()
          .forEach(
              (name, w) -> {
                // Initial norms and biases are ones and zeros, of which zeros cannot decay.
                if (name.matches(VECTORS)) {
                  java.util.Arrays.fill(w, 0.5f);
                }
                before.put(name, w.clone());
              });
      SortedMap<String, float[]> thetas = thetas(s.parameters);
      Training t = TinyStudent.training(1).setWeightDecay(0.1).build();
      s.parameters.write();
      assertThat(s.parameters.step(t, RATE, 1, "test")).isZero();
      float kept = (float) (1 - RATE * t.getWeightDecay());
      int decayed = 0;
      for (String name : StudentTrainer.trainable(s.model, true).keySet()) {
        float[] w = before.get(name);
        boolean vector = name.matches(VECTORS);
        float[] expected = w.clone();
        for (int i = 0; i < w.length && !vector; i++) {
          expected[i] = w[i] * kept;
        }
        assertThat(s.model.masters().get(name)).as(name).isEqualTo(expected);
        decayed += vector ? 0 : 1;
      }
      // Decoder 2 x 7, head, table, projector 2, patches, positions, the used tower block's 6.
      assertThat(decayed).isEqualTo(14 + 1 + 1 + 2 + 1 + 1 + 6);
      SortedMap<String, float[]> after = thetas(s.parameters);
      assertThat(after).hasSize(14);
      after.forEach((name, theta) -> assertThat(theta).as(name).isEqualTo(thetas.get(name)));
    }
  }

  private static SortedMap<String, float[]> thetas(Parameters p) {
    SortedMap<String, float[]> out = new TreeMap<>();
    p.state()
        .forEach(
            (name, values) -> {
              if (name.startsWith(Parameters.THETA)) {
                out.put(name, values.clone());
              }
            });
    return out;
  }

  /**
   * The norm is that of the straight-through gradients and the log-scales' together, and all of
   * them are scaled: after the first step first moments are 1 - beta1 of what AdamW was given.
   */
  @Test
  void theNormThatIsClippedIsOfAllGradients() {
    Map<String, float[]> free = moments(0);
    Map<String, float[]> loose = moments(1e3);
    double norm = norm(free);
    double thetas =
        norm(
            free.entrySet().stream()
                .filter(e -> e.getKey().startsWith("m." + Parameters.THETA))
                .collect(Collectors.toMap(Map.Entry::getKey, Map.Entry::getValue)));
    // Left out, they would make the norm 5e-5 smaller, which the bounds below see.
    assertThat(thetas / norm).isGreaterThan(0.01);
    loose.forEach((name, m) -> assertThat(m).as(name).isEqualTo(free.get(name)));
    for (double clip : new double[] {0.9 * norm, 0.01}) {
      Map<String, float[]> clipped = moments(clip);
      assertThat(norm(clipped)).isCloseTo(clip, within(1e-6 * clip));
      clipped.forEach(
          (name, m) -> {
            for (int i = 0; i < m.length; i++) {
              double expected = free.get(name)[i] * clip / norm;
              assertThat((double) m[i]).as(name).isCloseTo(expected, within(1e-6 * clip));
            }
          });
    }
  }

  /** What the norm of a step is, where what goes into it is known. */
  @Test
  void theReportedNormIsThatBeforeClipping() {
    try (TinyStudent s = new TinyStudent(1)) {
      s.parameters.write();
      s.stepper.accumulate(s.batch, Stepper.Limits.micro(2), WEIGHTS);
      Training t = TinyStudent.training(1).setClipNorm(0.01).build();
      double found = s.parameters.step(t, 0, 1, "test");
      assertThat(found).isCloseTo(norm(moments(0)), within(1e-6 * found));
    }
  }

  /** Gradients are read where the engine keeps them, also once it has others for new leaves. */
  @Test
  void gradientsThatWereReadOutliveTheirLeaves() {
    try (TinyStudent s = new TinyStudent(1)) {
      s.parameters.write();
      s.stepper.accumulate(s.batch, Stepper.Limits.micro(2), WEIGHTS);
      s.parameters.gradients();
      Map<String, NDArray> leaves = new TreeMap<>(s.model.parameters());
      Map<String, float[]> before = new TreeMap<>();
      leaves.keySet().removeAll(s.model.unusedParameters());
      leaves.keySet().forEach(name -> before.put(name, s.parameters.gradient(name)));
      for (NDArray leaf : leaves.values()) {
        leaf.intern(leaf.getManager().zeros(leaf.getShape(), leaf.getDataType()));
        leaf.getManager().ones(leaf.getShape()); // takes the memory of what was freed
      }
      before.forEach((name, g) -> assertThat(s.parameters.gradient(name)).as(name).isEqualTo(g));
    }
  }

  /** Gradients as AdamW gets them in a first step, by the names of its moments. */
  private static Map<String, float[]> moments(double clip) {
    Training t = TinyStudent.training(1).setClipNorm(clip).build();
    Map<String, float[]> out = new TreeMap<>();
    try (TinyStudent s = new TinyStudent(1)) {
      s.stepper.step(s.batch, t, RATE, 1, WEIGHTS);
      s.parameters
          .state()
          .forEach(
              (name, values) -> {
                if (name.startsWith("m.")) {
                  float[] g = values.clone();
                  for (int i = 0; i < g.length; i++) {
                    g[i] /= (float) (1 - t.getBeta1());
                  }
                  out.put(name, g);
                }
              });
    }
    return out;
  }

  private static double norm(Map<String, float[]> gradients) {
    double squares = 0;
    for (float[] g : gradients.values()) {
      for (float x : g) {
        squares += (double) x * x;
      }
    }
    return Math.sqrt(squares);
  }
}
