package io.gracebeam.worker.methods.quantize;

import io.gracebeam.proto.error.GraceException;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** What was gathered for a quantizer, by the canonical name of a linear's weight. */
public final class Statistics {
  private static final Statistics NONE = new Statistics(Map.of(), Map.of());

  private final Map<String, float[]> logScales;
  private final Map<String, Inputs> inputs;

  /**
   * @param logScales trained log-scales [groups] of a weight
   * @param inputs statistics of the inputs of a weight; linears with the same input share them
   */
  public Statistics(Map<String, float[]> logScales, Map<String, Inputs> inputs) {
    this.logScales = Map.copyOf(logScales);
    this.inputs = Map.copyOf(inputs);
  }

  /** No statistics. */
  public static Statistics none() {
    return NONE;
  }

  /** The trained log-scales of a weight [groups]; empty where it was not trained with scales. */
  public Optional<float[]> logScales(String weight) {
    return Optional.ofNullable(logScales.get(weight));
  }

  /**
   * The statistics of the inputs of a weight.
   *
   * @throws GraceException data, if calibration never saw an input of this weight
   */
  public Inputs inputs(String weight) {
    Inputs found = inputs.get(weight);
    if (found == null) {
      throw GraceException.data("calibration saw no input of %s", weight);
    }
    return found;
  }

  /**
   * The inputs of a linear with n input channels.
   *
   * @param tokens tokens that were seen; those routed to it, for a linear of an expert
   * @param meanMagnitudes mean |x| of each channel [n]; empty if not asked for
   * @param secondMoments sums of x x^T [n, n], row-major; empty if not asked for
   * @param weightedSecondMoments sums of c x x^T [n, n]; empty if not asked for
   */
  @SuppressWarnings("ArrayRecordComponent") // large arrays, compared by nobody
  public record Inputs(
      long tokens, float[] meanMagnitudes, float[] secondMoments, float[] weightedSecondMoments) {

    /** The statistics of these that are there. */
    public Set<Statistic> present() {
      java.util.EnumSet<Statistic> out = java.util.EnumSet.noneOf(Statistic.class);
      if (meanMagnitudes.length > 0) {
        out.add(Statistic.MEAN_MAGNITUDES);
      }
      if (secondMoments.length > 0) {
        out.add(Statistic.SECOND_MOMENTS);
      }
      if (weightedSecondMoments.length > 0) {
        out.add(Statistic.WEIGHTED_SECOND_MOMENTS);
      }
      return out;
    }
  }
}
