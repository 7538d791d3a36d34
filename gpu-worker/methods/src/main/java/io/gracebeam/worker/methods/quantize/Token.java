package io.gracebeam.worker.methods.quantize;

/**
 * What is known of a calibration token when its weight is asked for.
 *
 * @param image whether it stands for a part of an image; else it is text
 * @param answer whether it is a supervised token
 * @param routing the router's combine weight for the expert at hand, 0 to 1; 1 outside experts
 * @param sensitivity mean magnitude of the loss's gradient with respect to the block's output over
 *     tokens of this modality; 1 where no gradient was taken
 */
public record Token(boolean image, boolean answer, double routing, double sensitivity) {}
