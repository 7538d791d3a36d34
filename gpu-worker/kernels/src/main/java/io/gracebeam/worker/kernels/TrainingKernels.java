package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;

/**
 * Gradients of the quantizer and steps of the optimizer on checked arguments. Sums of different
 * implementations may differ in their last bits.
 */
public interface TrainingKernels {
  /**
   * Backward pass of the quantizer, see {@link LsqGradient}.
   *
   * @param scales one for each group
   * @param g gradient with respect to the quantized weight: float32 numbers, on the heap or in
   *     native memory
   * @param thetaFactor what dTheta is multiplied with
   * @param dW straight-through gradient with respect to the weight, overwritten; may share memory
   *     with g; null if it is not wanted
   * @param dTheta gradient with respect to the log scales, overwritten
   * @return sum of squares of the straight-through gradient; not finite if some g is not
   */
  double gradient(
      LatentWeight w,
      float[] scales,
      MemorySegment g,
      double thetaFactor,
      float[] dW,
      float[] dTheta);

  /**
   * A step of {@link AdamW}, in place.
   *
   * @param out also gets the new p; null if it is not wanted
   */
  void adamW(AdamW.Settings settings, float[] p, MemorySegment g, Moments moments, WeightCopy out);

  /** A step of a quantized weight, see {@link QuantizedStep#step}. */
  void quantizedStep(
      AdamW.Settings settings,
      LatentWeight w,
      MemorySegment g,
      Moments moments,
      ScaleStep scales,
      WeightCopy out);

  /** Sum of squares of float32 numbers. */
  double squares(MemorySegment v);
}
