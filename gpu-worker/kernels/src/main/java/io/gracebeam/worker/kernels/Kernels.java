package io.gracebeam.worker.kernels;

/**
 * One implementation of all kernels, by concern; {@link KernelProvider} chooses it. There are
 * three: plain Java (the oracle that the others are tested against), the Vector API, and C. All are
 * deterministic for any number of threads. Their arguments have been checked by the public classes
 * that call them, such as {@link LogScaleQuantizer} and {@link AdamW}.
 */
public interface Kernels {
  /** Short name: {@code scalar}, {@code vector} or {@code native}. */
  String name();

  /** What may change a result's bits: equal texts mean equal results. */
  String identity();

  /** Name, instruction set or vector width, and number of threads where they matter. */
  String describe();

  /** Matrix products with packed and dense weights. */
  ProductKernels products();

  /** Scales and codes of weights. */
  QuantizerKernels quantizer();

  /** Gradients of the quantizer and steps of the optimizer. */
  TrainingKernels training();

  /** Losses with their gradients, and what is kept of a teacher's logits. */
  LossKernels losses();
}
