/**
 * Deployable checkpoints: compressed-tensors folders, written, read back, compared, and run on
 * packed weights.
 */
package io.gracebeam.worker.methods.export;
