package io.gracebeam.worker.kernels;

/**
 * The symmetric quantizer of {@link LogScaleQuantizer} on checked arguments. All implementations
 * give the same bits.
 */
public interface QuantizerKernels {
  /** Writes exp(theta), kept within the allowed scales. */
  void scales(float[] theta, float[] scales);

  /** Writes the scales with the least squared error among the grid's. */
  void searchScales(LatentWeight w, float[] scales);

  /**
   * Writes the quantized weight, s * clip(rint(w / s)).
   *
   * @param scales one for each group
   * @param out [rows, cols]; may be w's own values
   */
  void fakeQuantize(LatentWeight w, float[] scales, float[] out);

  /** Codes of the weight in the words of {@link Packing}. */
  int[] packedCodes(LatentWeight w, float[] scales);
}
