/** Opens the tensor engine (DJL's PyTorch engine) offline, with fixed threads and seed. */
package io.gracebeam.worker.engine;
