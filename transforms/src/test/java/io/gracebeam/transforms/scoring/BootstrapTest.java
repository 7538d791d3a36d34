package io.gracebeam.transforms.scoring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.gracebeam.transforms.statistics.CounterRng;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;

class BootstrapTest {
  private static List<Score.Unit> answers(int n, double p, long stream) {
    CounterRng rng = CounterRng.of(5, stream);
    List<Score.Unit> list = new ArrayList<>();
    for (int i = 0; i < n; i++) {
      list.add(new Score.Unit("q" + i, "open", "", rng.nextDouble() < p ? 1 : 0));
    }
    return list;
  }

  @Test
  void theIntervalHasTheNormalWidth() {
    Bootstrap.Interval i = Bootstrap.standard(1).accuracy(List.of(answers(2000, 0.7, 1)));
    double expected = 2 * 1.96 * Math.sqrt(i.mean() * (1 - i.mean()) / 2000);
    assertThat(i.high() - i.low()).isCloseTo(expected, within(0.1 * expected));
    assertThat(i.mean()).isBetween(i.low(), i.high());
  }

  @Test
  void pairedDifferencesAreNarrower() {
    List<Score.Unit> base = answers(1000, 0.6, 2);
    List<Score.Unit> better = new ArrayList<>(base);
    for (int i = 0, gained = 0; gained < 30; i++) {
      Score.Unit a = base.get(i);
      if (a.credit() == 0) {
        better.set(i, new Score.Unit(a.id(), a.type(), a.image(), 1));
        gained++;
      }
    }
    Bootstrap bootstrap = Bootstrap.standard(1);
    Bootstrap.Interval d = bootstrap.difference(List.of(better), List.of(base));
    assertThat(d.mean()).isCloseTo(0.03, within(1e-12));
    assertThat(d.excludesZero()).isTrue();
    Bootstrap.Interval same = bootstrap.difference(List.of(base), List.of(base));
    assertThat(List.of(same.mean(), same.low(), same.high())).containsOnly(0.0);
  }

  @Test
  void orderIsIrrelevantAndSeedsAreKept() {
    List<List<Score.Unit>> three =
        List.of(answers(300, 0.5, 1), answers(300, 0.6, 2), answers(300, 0.7, 3));
    List<List<Score.Unit>> shuffled = new ArrayList<>();
    for (List<Score.Unit> list : three) {
      List<Score.Unit> copy = new ArrayList<>(list);
      Collections.reverse(copy);
      shuffled.add(copy);
    }
    Bootstrap.Interval i = Bootstrap.standard(9).accuracy(three);
    assertThat(Bootstrap.standard(9).accuracy(shuffled)).isEqualTo(i);
    assertThat(i.seeds()).isEqualTo(3);
    assertThat(Bootstrap.standard(10).accuracy(three)).isNotEqualTo(i);
    // The seeds differ by 0.1: their variation widens the interval beyond that of the questions.
    assertThat(i.high() - i.low()).isGreaterThan(0.1);
  }

  @Test
  void questionsOnOneImageAreDrawnTogether() {
    List<Score.Unit> list = new ArrayList<>();
    for (int i = 0; i < 1000; i++) {
      list.add(new Score.Unit("q" + i, "open", "img" + i / 10, (i / 10) % 2));
    }
    Bootstrap.Interval i = Bootstrap.standard(1).accuracy(List.of(list));
    double expected = 2 * 1.96 * 0.5 / Math.sqrt(100);
    assertThat(i.high() - i.low()).isCloseTo(expected, within(0.15 * expected));
  }

  @Test
  void creditMayBePartial() {
    List<Score.Unit> halves = answers(1000, 1, 1).stream().map(u -> credit(u, 0.5)).toList();
    Bootstrap.Interval all = Bootstrap.standard(1).accuracy(List.of(halves));
    assertThat(List.of(all.mean(), all.low(), all.high())).containsOnly(0.5);
    // Half the credit on the same questions: half the mean, half the width.
    List<Score.Unit> flags = answers(1000, 0.5, 2);
    List<Score.Unit> half = flags.stream().map(u -> credit(u, u.credit() / 2)).toList();
    Bootstrap.Interval whole = Bootstrap.standard(1).accuracy(List.of(flags));
    Bootstrap.Interval part = Bootstrap.standard(1).accuracy(List.of(half));
    assertThat(part.mean()).isCloseTo(whole.mean() / 2, within(1e-12));
    assertThat(part.high() - part.low()).isCloseTo((whole.high() - whole.low()) / 2, within(1e-12));
  }

  private static Score.Unit credit(Score.Unit unit, double credit) {
    return new Score.Unit(unit.id(), unit.type(), unit.image(), credit);
  }

  @Test
  void differentQuestionsAreRefused() {
    assertThatThrownBy(
            () ->
                Bootstrap.standard(1)
                    .difference(List.of(answers(10, 0.5, 1)), List.of(answers(9, 0.5, 1))))
        .hasMessageContaining("same questions");
  }
}
