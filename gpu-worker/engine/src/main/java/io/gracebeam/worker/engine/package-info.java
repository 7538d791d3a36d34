/**
 * Opens the tensor engines, LibTorch (of package libtorch) or DJL's own PyTorch, offline, with
 * fixed threads and seed.
 */
package io.gracebeam.worker.engine;
