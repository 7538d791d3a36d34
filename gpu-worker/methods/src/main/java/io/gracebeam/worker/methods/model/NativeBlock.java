package io.gracebeam.worker.methods.model;

import io.gracebeam.worker.kernels.TrainingBlocks.Parameter;
import io.gracebeam.worker.kernels.TrainingBlocks.Sizes;
import java.util.Map;

/**
 * A block that the native kernels of training can run.
 *
 * @param sizes kind and sizes of the block
 * @param names canonical names of its parameters
 */
public record NativeBlock(Sizes sizes, Map<Parameter, String> names) {}
