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
  private static List<Score.Answer> answers(int n, double p, long stream) {
    CounterRng rng = CounterRng.of(5, stream);
    List<Score.Answer> list = new ArrayList<>();
    for (int i = 0; i < n; i++) {
      list.add(new Score.Answer("q" + i, "open", "", "", rng.nextDouble() < p ? 1 : 0));
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
    List<Score.Answer> base = answers(1000, 0.6, 2);
    List<Score.Answer> better = new ArrayList<>(base);
    for (int i = 0, gained = 0; gained < 30; i++) {
      Score.Answer a = base.get(i);
      if (a.correct() == 0) {
        better.set(i, new Score.Answer(a.id(), a.type(), a.image(), a.parsed(), 1));
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
    List<List<Score.Answer>> three =
        List.of(answers(300, 0.5, 1), answers(300, 0.6, 2), answers(300, 0.7, 3));
    List<List<Score.Answer>> shuffled = new ArrayList<>();
    for (List<Score.Answer> list : three) {
      List<Score.Answer> copy = new ArrayList<>(list);
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
    List<Score.Answer> list = new ArrayList<>();
    for (int i = 0; i < 1000; i++) {
      list.add(new Score.Answer("q" + i, "open", "img" + i / 10, "", (i / 10) % 2));
    }
    Bootstrap.Interval i = Bootstrap.standard(1).accuracy(List.of(list));
    double expected = 2 * 1.96 * 0.5 / Math.sqrt(100);
    assertThat(i.high() - i.low()).isCloseTo(expected, within(0.15 * expected));
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
