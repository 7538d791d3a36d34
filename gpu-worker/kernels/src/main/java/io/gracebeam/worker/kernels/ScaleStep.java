package io.gracebeam.worker.kernels;

/**
 * Scales of a weight on both sides of an optimizer step, one for each group.
 *
 * @param before those that the gradient was computed with
 * @param after those that the new weight is quantized with
 */
@SuppressWarnings("ArrayRecordComponent") // large arrays, compared by nobody
public record ScaleStep(float[] before, float[] after) {}
