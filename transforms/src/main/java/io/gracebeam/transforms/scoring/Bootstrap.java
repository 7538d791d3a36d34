package io.gracebeam.transforms.scoring;

import io.gracebeam.transforms.statistics.CounterRng;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Percentile bootstrap intervals (Efron and Tibshirani 1993, chapter 13) of mean credit, and of the
 * difference to a baseline on the same questions. Questions about one image are drawn together
 * (they are not independent), and with several training seeds the seeds are drawn too, so the
 * interval covers both sources of variation. Deterministic: the draws come from a counter-based
 * generator, and the inputs are put in order first.
 */
public final class Bootstrap {
  /** Default number of resamples. */
  public static final int RESAMPLES = 2000;

  private final long seed;
  private final int resamples;
  private final double level;

  /**
   * A bootstrap.
   *
   * @param seed of the draws
   * @param resamples number of resamples, at least 100
   * @param level coverage, for example 0.95
   */
  public Bootstrap(long seed, int resamples, double level) {
    if (resamples < 100 || !(level > 0 && level < 1)) {
      throw new IllegalArgumentException(
          "resamples is " + resamples + ", level is " + level + "; allowed is >= 100, and 0 to 1");
    }
    this.seed = seed;
    this.resamples = resamples;
    this.level = level;
  }

  /** 95 % intervals from {@link #RESAMPLES} resamples. */
  public static Bootstrap standard(long seed) {
    return new Bootstrap(seed, RESAMPLES, 0.95);
  }

  /**
   * An estimate with its interval.
   *
   * @param mean over questions and seeds
   * @param low lower percentile
   * @param high upper percentile
   * @param questions number of questions
   * @param seeds number of seeds
   */
  public record Interval(double mean, double low, double high, int questions, int seeds) {
    /** Whether zero is outside. */
    public boolean excludesZero() {
      return low > 0 || high < 0;
    }
  }

  /** One unit of observation: a scored unit of a benchmark. */
  private record Key(String image, String id) implements Comparable<Key> {
    @Override
    public int compareTo(Key other) {
      int byImage = image.compareTo(other.image);
      return byImage != 0 ? byImage : id.compareTo(other.id);
    }
  }

  /** The interval of the accuracy; one list of units per training seed, same questions in all. */
  public Interval accuracy(List<List<Score.Unit>> bySeed) {
    return interval(values(bySeed), null);
  }

  /**
   * The interval of accuracy(variant) - accuracy(baseline). Entry i of both lists belongs to the
   * same seed; a baseline with a single entry (a teacher, say) stands for every seed.
   *
   * @throws IllegalArgumentException where the questions differ, or the numbers of seeds
   */
  public Interval difference(List<List<Score.Unit>> variant, List<List<Score.Unit>> baseline) {
    List<List<Score.Unit>> base = new ArrayList<>(baseline);
    while (base.size() < variant.size() && baseline.size() == 1) {
      base.add(baseline.get(0));
    }
    TreeMap<Key, double[]> a = values(variant);
    TreeMap<Key, double[]> b = values(base);
    if (!a.keySet().equals(b.keySet()) || variant.size() != base.size()) {
      throw new IllegalArgumentException(
          "a paired difference needs the same questions and as many seeds on both sides; got "
              + a.size()
              + " x "
              + variant.size()
              + " and "
              + b.size()
              + " x "
              + base.size());
    }
    return interval(a, b);
  }

  private static TreeMap<Key, double[]> values(List<List<Score.Unit>> bySeed) {
    TreeMap<Key, double[]> result = new TreeMap<>();
    int seeds = bySeed.size();
    for (int s = 0; s < seeds; s++) {
      for (Score.Unit unit : bySeed.get(s)) {
        // Units without image are independent: each is its own cluster.
        String image = unit.image().isEmpty() ? "\0" + unit.id() : unit.image();
        double[] row =
            result.computeIfAbsent(
                new Key(image, unit.id()),
                k -> {
                  double[] fresh = new double[seeds];
                  Arrays.fill(fresh, Double.NaN);
                  return fresh;
                });
        if (!Double.isNaN(row[s])) {
          throw new IllegalArgumentException("question " + unit.id() + " is answered twice");
        }
        row[s] = unit.credit();
      }
    }
    if (result.isEmpty()) {
      throw new IllegalArgumentException("there are no answers to draw from");
    }
    result.forEach(
        (key, row) -> {
          if (Arrays.stream(row).anyMatch(Double::isNaN)) {
            throw new IllegalArgumentException("question " + key.id() + " lacks a seed's answer");
          }
        });
    return result;
  }

  private Interval interval(TreeMap<Key, double[]> values, TreeMap<Key, double[]> baseline) {
    int seeds = values.firstEntry().getValue().length;
    // Per cluster (image): sum over its questions for each seed, and the number of questions.
    TreeMap<String, double[]> clusters = new TreeMap<>();
    for (Map.Entry<Key, double[]> entry : values.entrySet()) {
      double[] sums = clusters.computeIfAbsent(entry.getKey().image(), c -> new double[seeds + 1]);
      double[] minus = baseline == null ? null : baseline.get(entry.getKey());
      for (int s = 0; s < seeds; s++) {
        sums[s] += entry.getValue()[s] - (minus == null ? 0 : minus[s]);
      }
      sums[seeds]++;
    }
    double[][] table = clusters.values().toArray(double[][]::new);
    double[] draws = new double[resamples];
    for (int r = 0; r < resamples; r++) {
      CounterRng rng = CounterRng.of(seed, r);
      double[] total = new double[seeds + 1];
      for (int i = 0; i < table.length; i++) {
        double[] drawn = table[rng.nextInt(table.length)];
        for (int s = 0; s <= seeds; s++) {
          total[s] += drawn[s];
        }
      }
      double sum = 0;
      for (int s = 0; s < seeds; s++) {
        sum += total[seeds == 1 ? 0 : rng.nextInt(seeds)];
      }
      draws[r] = sum / seeds / total[seeds];
    }
    Arrays.sort(draws);
    double mean = 0;
    for (double[] row : table) {
      for (int s = 0; s < seeds; s++) {
        mean += row[s];
      }
    }
    return new Interval(
        mean / seeds / values.size(),
        percentile(draws, (1 - level) / 2),
        percentile(draws, (1 + level) / 2),
        values.size(),
        seeds);
  }

  /** Linear interpolation between order statistics. */
  private static double percentile(double[] sorted, double p) {
    double at = p * (sorted.length - 1);
    int below = (int) at;
    int above = Math.min(sorted.length - 1, below + 1);
    return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
  }
}
