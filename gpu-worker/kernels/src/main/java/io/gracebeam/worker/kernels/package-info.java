/**
 * Numerical kernels of the worker on row-major float arrays: quantizer, packed weights, losses with
 * closed-form gradients, optimizer. No engine is needed.
 *
 * <p>Every kernel is deterministic: work is split into fixed blocks that do not depend on the
 * number of threads, and each sum has one fixed order. Argument errors are {@link
 * IllegalArgumentException}s of one line (where, what, what is allowed), raised before any array is
 * written.
 */
package io.gracebeam.worker.kernels;
