package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;

/**
 * Result of a pass without the head; arrays as in {@link Forward}.
 *
 * @param rows [R, d]: what the head turns into logits, in the model's compute type
 * @param visualStates [B, n, d]; null without pixels
 */
public record Hidden(NDArray rows, NDArray visualStates) {}
