package io.gracebeam.worker.methods.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.gracebeam.proto.error.GraceException;
import java.util.List;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.Size;
import org.junit.jupiter.api.Test;

/** The controller's trajectories, its bounds and its state. */
class IbControllerTest {
  @Test
  void controllerFollowsTheKnownTrajectories() {
    double[] x = {36, 20, 10, 5, 2, 2};
    double[] beta = {.599, .69752, .7952648, .892092152, .98792123, 1.0};
    double[] ema = {36, 35.84, 35.5816, 35.275784, 34.94302616, 34.613595898};
    double[] slow = {1.053475, 1.10671, 1.1595574, 1.211946076, 1.263835615, 1.315231009};
    IbController a = new IbController(3, .003, .5, .1, 1, .99);
    IbController b = new IbController(.35, .0015, 1, .1, 5, .99);
    for (int i = 0; i < x.length; i++) {
      assertThat(a.update(x[i])).isCloseTo(beta[i], within(1e-8));
      assertThat(a.ema()).isCloseTo(ema[i], within(1e-8));
      assertThat(b.update(x[i])).isCloseTo(slow[i], within(1e-9));
    }
  }

  @Property(tries = 100)
  void betaStaysWithinItsBoundsAndStateRestores(
      @ForAll @Size(min = 1, max = 30) List<@DoubleRange(min = 0, max = 100) Double> losses) {
    IbController a = new IbController(3, .05, .5, .1, 1, .9);
    for (double x : losses) {
      IbController b = new IbController(3, .05, .5, .1, 1, .9);
      b.state(a.state());
      double next = a.update(x);
      assertThat(next).isBetween(.1, 1.0).isEqualTo(a.beta());
      assertThat(b.update(x)).isEqualTo(next);
    }
    IbController fixed = IbController.fixed(.7);
    assertThat(fixed.update(losses.get(0))).isEqualTo(.7);
  }

  @Test
  void controllerRefusesBadInput() {
    IbController a = new IbController(3, .05, .5, .1, 1, .9);
    assertThatThrownBy(() -> a.update(Double.NaN))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("loss is NaN");
    assertThat(a.beta()).isEqualTo(.5);
    assertThatThrownBy(() -> new IbController(3, .05, 2, .1, 1, .9))
        .hasMessageContaining("beta is 2.0");
    assertThatThrownBy(() -> new IbController(3, .05, .5, 1, .1, .9))
        .hasMessageContaining("min <= max");
    assertThatThrownBy(() -> new IbController(3, .05, .5, .1, 1, 1))
        .hasMessageContaining("decay is 1.0");
  }
}
