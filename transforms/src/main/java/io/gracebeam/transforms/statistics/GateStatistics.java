package io.gracebeam.transforms.statistics;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * How well the teacher's normalized entropy h = H / ln V predicts its errors. Every sample is
 * rounded once to a multiple of 2^-30 and then summed in integers, so that any order of adding and
 * merging gives the same state, the same {@link #toBytes bytes} and the same figures.
 *
 * <p>Figures, over all samples ({@link #ALL}) or one question type:
 *
 * <ul>
 *   <li>{@link Figures#pearson} correlation of h and error;
 *   <li>{@link Figures#binnedR2} squared correlation of the bins' mean h and mean error, which is
 *       the R squared of a least-squares line through the bins, each bin with the same weight;
 *   <li>{@link Figures#calibrationError} sum over confidence bins of n_b/n |accuracy - confidence|.
 * </ul>
 *
 * A figure that is not defined (fewer than two samples or bins, or no variation) is NaN.
 */
public final class GateStatistics implements Serializable {
  private static final long serialVersionUID = 1L;

  /** The key of the figures over all question types. */
  public static final String ALL = "all";

  /** Equal-width bins of h over [0, 1]. */
  public static final int ENTROPY_BINS = 20;

  /** Equal-width bins of the confidence over [0, 1]. */
  public static final int CONFIDENCE_BINS = 15;

  /** Entropy bins with fewer samples than this do not enter {@link Figures#binnedR2}. */
  public static final int MIN_BIN_SAMPLES = 5;

  private static final double SCALE = 0x1.0p30;
  private static final int MAGIC = 0x47535431;

  /** What is kept of one question type. Sums are in units of 2^-30, squares in 2^-60. */
  private static final class Cell implements Serializable {
    private static final long serialVersionUID = 1L;
    long count;
    final ExactSum h = new ExactSum();
    final ExactSum error = new ExactSum();
    final ExactSum hh = new ExactSum();
    final ExactSum ee = new ExactSum();
    final ExactSum he = new ExactSum();
    // Per bin: samples, sum of h (or confidence), sum of errors.
    final long[][] entropyBins = new long[3][ENTROPY_BINS];
    final long[][] confidenceBins = new long[3][CONFIDENCE_BINS];

    ExactSum[] sums() {
      return new ExactSum[] {h, error, hh, ee, he};
    }

    void merge(Cell other) {
      count += other.count;
      ExactSum[] mine = sums();
      ExactSum[] theirs = other.sums();
      for (int i = 0; i < mine.length; i++) {
        mine[i].add(theirs[i]);
      }
      addAll(entropyBins, other.entropyBins);
      addAll(confidenceBins, other.confidenceBins);
    }

    private static void addAll(long[][] to, long[][] from) {
      for (int i = 0; i < to.length; i++) {
        for (int j = 0; j < to[i].length; j++) {
          to[i][j] += from[i][j];
        }
      }
    }
  }

  private final TreeMap<String, Cell> cells = new TreeMap<>();

  /** Adds one sample. */
  public void add(GateSample sample) {
    Cell cell = cells.computeIfAbsent(sample.type(), t -> new Cell());
    long h = fixed(sample.entropy() / StrictMath.log(sample.vocabulary()));
    long error = fixed(sample.error());
    long confidence = fixed(sample.confidence());
    cell.count++;
    cell.h.add(h);
    cell.error.add(error);
    cell.hh.add(h * h);
    cell.ee.add(error * error);
    cell.he.add(h * error);
    bin(cell.entropyBins, h, error);
    bin(cell.confidenceBins, confidence, error);
  }

  private static long fixed(double unit) {
    return (long) Math.rint(Math.max(0, Math.min(1, unit)) * SCALE);
  }

  private static void bin(long[][] bins, long x, long error) {
    int n = bins[0].length;
    int b = (int) Math.min(n - 1, (x * n) >> 30);
    bins[0][b]++;
    bins[1][b] += x;
    bins[2][b] += error;
  }

  /** Adds all that {@code other} has seen; {@code other} stays as it is. Returns this. */
  public GateStatistics merge(GateStatistics other) {
    GateStatistics from = other == this ? fromBytes(toBytes()) : other;
    from.cells.forEach((type, cell) -> cells.computeIfAbsent(type, t -> new Cell()).merge(cell));
    return this;
  }

  /**
   * One bar of a histogram.
   *
   * @param low lower edge, inclusive
   * @param high upper edge, exclusive but for the last bin
   * @param count samples
   * @param meanX mean of h (or of the confidence) in the bin, NaN when it is empty
   * @param meanError mean error in the bin, NaN when it is empty
   */
  public record Bin(double low, double high, long count, double meanX, double meanError) {}

  /**
   * The figures of one question type.
   *
   * @param count samples
   * @param meanEntropy mean of h
   * @param meanError mean error
   * @param pearson correlation of h and error
   * @param binnedR2 R squared over the entropy bins
   * @param calibrationError expected calibration error
   * @param entropyBins histogram over h
   * @param confidenceBins histogram over the confidence
   */
  public record Figures(
      long count,
      double meanEntropy,
      double meanError,
      double pearson,
      double binnedR2,
      double calibrationError,
      List<Bin> entropyBins,
      List<Bin> confidenceBins) {}

  /** The figures of {@link #ALL} and of every type seen, sorted by type. */
  public SortedMap<String, Figures> figures() {
    TreeMap<String, Figures> result = new TreeMap<>();
    Cell all = new Cell();
    cells.forEach(
        (type, cell) -> {
          all.merge(cell);
          result.put(type, figuresOf(cell));
        });
    result.put(ALL, figuresOf(all));
    return Collections.unmodifiableSortedMap(result);
  }

  /** Samples over all types. */
  public long count() {
    return cells.values().stream().mapToLong(c -> c.count).sum();
  }

  private static Figures figuresOf(Cell c) {
    double calibration = c.count == 0 ? Double.NaN : 0;
    for (int b = 0; b < CONFIDENCE_BINS; b++) {
      // n_b/n |accuracy - confidence| = |n_b - errors - confidences| / n
      double right = c.confidenceBins[0][b] - c.confidenceBins[2][b] / SCALE;
      calibration += Math.abs(right - c.confidenceBins[1][b] / SCALE) / Math.max(1, c.count);
    }
    List<Bin> entropy = bins(c.entropyBins);
    return new Figures(
        c.count,
        c.count == 0 ? Double.NaN : c.h.toDouble() / SCALE / c.count,
        c.count == 0 ? Double.NaN : c.error.toDouble() / SCALE / c.count,
        pearson(c),
        r2(entropy),
        calibration,
        entropy,
        bins(c.confidenceBins));
  }

  private static double pearson(Cell c) {
    double covariance = centered(c, c.he, c.h, c.error);
    double hh = centered(c, c.hh, c.h, c.h);
    double ee = centered(c, c.ee, c.error, c.error);
    return hh > 0 && ee > 0 ? covariance / Math.sqrt(hh) / Math.sqrt(ee) : Double.NaN;
  }

  /** n * sum(xy) - sum(x) * sum(y), exactly, then rounded. */
  private static double centered(Cell c, ExactSum xy, ExactSum x, ExactSum y) {
    return java.math.BigInteger.valueOf(c.count)
        .multiply(xy.toBigInteger())
        .subtract(x.toBigInteger().multiply(y.toBigInteger()))
        .doubleValue();
  }

  private static double r2(List<Bin> bins) {
    List<Bin> used = bins.stream().filter(b -> b.count >= MIN_BIN_SAMPLES).toList();
    double mx = used.stream().mapToDouble(Bin::meanX).sum() / used.size();
    double my = used.stream().mapToDouble(Bin::meanError).sum() / used.size();
    double xx = 0;
    double yy = 0;
    double xy = 0;
    for (Bin b : used) {
      xx += (b.meanX - mx) * (b.meanX - mx);
      yy += (b.meanError - my) * (b.meanError - my);
      xy += (b.meanX - mx) * (b.meanError - my);
    }
    return xx > 0 && yy > 0 ? xy * xy / (xx * yy) : Double.NaN;
  }

  private static List<Bin> bins(long[][] raw) {
    List<Bin> result = new ArrayList<>();
    int n = raw[0].length;
    for (int b = 0; b < n; b++) {
      double count = raw[0][b] == 0 ? Double.NaN : raw[0][b];
      result.add(
          new Bin(
              b / (double) n,
              (b + 1) / (double) n,
              raw[0][b],
              raw[1][b] / SCALE / count,
              raw[2][b] / SCALE / count));
    }
    return List.copyOf(result);
  }

  /** The whole state; equal states give equal bytes. */
  public byte[] toBytes() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (DataOutputStream out = new DataOutputStream(bytes)) {
      out.writeInt(MAGIC);
      out.writeInt(cells.size());
      for (var entry : cells.entrySet()) {
        out.writeUTF(entry.getKey());
        Cell cell = entry.getValue();
        out.writeLong(cell.count);
        for (ExactSum sum : cell.sums()) {
          out.writeLong(sum.high());
          out.writeLong(sum.low());
        }
        for (long[][] bins : List.of(cell.entropyBins, cell.confidenceBins)) {
          for (long[] row : bins) {
            for (long v : row) {
              out.writeLong(v);
            }
          }
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return bytes.toByteArray();
  }

  /**
   * Reads what {@link #toBytes} wrote.
   *
   * @throws IllegalArgumentException where the bytes are something else
   */
  public static GateStatistics fromBytes(byte[] bytes) {
    GateStatistics result = new GateStatistics();
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      if (in.readInt() != MAGIC) {
        throw new IllegalArgumentException("not gate statistics: wrong first four bytes");
      }
      int n = in.readInt();
      for (int i = 0; i < n; i++) {
        String type = in.readUTF();
        Cell cell = new Cell();
        cell.count = in.readLong();
        for (ExactSum sum : cell.sums()) {
          sum.add(new ExactSum(in.readLong(), in.readLong()));
        }
        for (long[][] bins : List.of(cell.entropyBins, cell.confidenceBins)) {
          for (long[] row : bins) {
            for (int j = 0; j < row.length; j++) {
              row[j] = in.readLong();
            }
          }
        }
        result.cells.put(type, cell);
      }
    } catch (IOException e) {
      throw new IllegalArgumentException("not gate statistics: they end too early", e);
    }
    return result;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof GateStatistics that && Arrays.equals(toBytes(), that.toBytes());
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(toBytes());
  }

  @Override
  public String toString() {
    return "GateStatistics" + cells.keySet() + " of " + count() + " samples";
  }
}
