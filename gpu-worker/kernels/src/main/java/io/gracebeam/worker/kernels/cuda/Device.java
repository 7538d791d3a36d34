package io.gracebeam.worker.kernels.cuda;

import java.lang.foreign.MemorySegment;

/** Memory that kernels work on. Calls wait for what was enqueued before. */
interface Device extends AutoCloseable {
  /** Memory aligned to 256 bytes; not to be read or written from Java where it is a GPU's. */
  MemorySegment allocate(long bytes);

  /** Gives back what {@link #allocate} gave. */
  void free(MemorySegment memory);

  /** Copies host memory to the device. */
  void write(MemorySegment device, MemorySegment host);

  /** Copies device memory to the host. */
  void read(MemorySegment device, MemorySegment host);

  /** Waits until all work is done. */
  void synchronize();

  @Override
  void close();
}
