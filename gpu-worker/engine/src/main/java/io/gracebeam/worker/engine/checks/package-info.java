/**
 * Checks of the engine's operators, in the jar so that tests and {@code gpu-worker/gpu-check} make
 * the same ones. Nothing here is used in training or inference.
 */
package io.gracebeam.worker.engine.checks;
