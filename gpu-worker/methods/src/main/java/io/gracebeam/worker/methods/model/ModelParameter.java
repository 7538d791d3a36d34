package io.gracebeam.worker.methods.model;

import java.util.Optional;
import java.util.Set;

/**
 * A parameter of a model.
 *
 * @param name canonical name: unique in the model, and the name under which it is exported; that of
 *     a linear weight ends in {@code .weight}
 * @param shape row-major; a linear weight is [outputs, inputs]
 * @param place where in the model it stands
 * @param start its values in a model that is trained from scratch
 * @param traits what else is known of it
 * @param before of a linear weight the parameter that its inputs are proportional to, channel by
 *     channel: the weight of a norm, or of a linear layer without a function behind it
 */
public record ModelParameter(
    String name,
    long[] shape,
    Place place,
    Start start,
    Set<Trait> traits,
    Optional<String> before) {

  /**
   * Where a parameter stands.
   *
   * @param block number of the block inside the part; -1 outside of blocks
   * @param expert number of the expert inside the block; -1 where there are none
   */
  public record Place(Part part, int block, int expert) {
    /** A place outside of blocks. */
    public static Place of(Part part) {
      return new Place(part, -1, -1);
    }

    /** A place in a block without experts. */
    public static Place of(Part part, int block) {
      return new Place(part, block, -1);
    }
  }

  /**
   * Values to start training from: normal with this deviation around 0, or a constant.
   *
   * @param deviation 0 for the constant
   */
  public record Start(float constant, double deviation) {
    /** All values 0, as for biases. */
    public static final Start ZERO = new Start(0, 0);

    /** All values 1, as for the weights of norms. */
    public static final Start ONE = new Start(1, 0);

    /** Random values. */
    public static Start normal(double deviation) {
      return new Start(0, deviation);
    }

    /** Deviation 1 / sqrt(inputs), for the weight of a linear layer. */
    public static Start linear(long inputs) {
      return normal(1 / Math.sqrt(inputs));
    }

    /**
     * {@link #linear} divided by sqrt(2 layers), for a layer that writes into a residual stream
     * (Radford et al. 2019).
     */
    public static Start residual(long inputs, int layers) {
      return normal(1 / Math.sqrt(inputs) / Math.sqrt(2.0 * layers));
    }
  }

  /** What may be said of a parameter. */
  public enum Trait {
    /** The weight of a linear layer, which may be quantized. */
    LINEAR,

    /** A checkpoint may lack it. */
    OPTIONAL,

    /** No pass touches it, so it has no gradient. */
    UNUSED
  }

  /** Whether it has a trait. */
  public boolean is(Trait trait) {
    return traits.contains(trait);
  }

  /** Number of its values. */
  public long size() {
    long out = 1;
    for (long n : shape) {
      out = Math.multiplyExact(out, n);
    }
    return out;
  }
}
