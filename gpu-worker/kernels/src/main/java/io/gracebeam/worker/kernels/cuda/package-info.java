/**
 * The CUDA kernels ({@code src/main/cuda}) as Java sees them: the library's functions, memory of a
 * device, and checks of every kernel against the Java oracle that run alike on a GPU and, under the
 * tests' emulation, on the processor. No model code.
 */
package io.gracebeam.worker.kernels.cuda;
