package io.gracebeam.worker.methods.quantize;

import java.util.Optional;

/**
 * A linear of a block that is to be quantized: y = x w^T with w [out, in].
 *
 * @param weight canonical name of the weight
 * @param rows output features
 * @param cols input features
 * @param precededBy canonical name of the weight of the norm or linear that makes the input, into
 *     which a factor of each input channel can be folded; empty where nothing linear precedes.
 *     Linears of one predecessor have the same input
 */
public record Linear(String weight, int rows, int cols, Optional<String> precededBy) {}
