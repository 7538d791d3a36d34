/**
 * Quantizers: what turns the float weights of a transformer block into integer codes, scales, zero
 * points and a column order. A method of its own is a class that implements {@link
 * io.gracebeam.worker.methods.quantize.Quantizer} and a line in {@code META-INF/services}. Nothing
 * here reads or writes a checkpoint: {@code export} does.
 */
package io.gracebeam.worker.methods.quantize;
