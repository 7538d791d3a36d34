package io.gracebeam.worker.kernels;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** A growable scratch buffer in native memory; growing loses what is in it. */
final class ScratchBuffer implements AutoCloseable {
  private final NativeLibrary library;
  private Arena arena = Arena.ofShared();
  private MemorySegment memory = MemorySegment.NULL;

  ScratchBuffer(NativeLibrary library) {
    this.library = library;
  }

  /** At least so many bytes, aligned to 64; the same memory as long as it suffices. */
  MemorySegment atLeast(long bytes) {
    if (memory.byteSize() < bytes) {
      arena.close();
      arena = Arena.ofShared();
      memory = MemorySegment.NULL;
      memory = library.reserve(bytes, arena);
    }
    return memory;
  }

  /** Bytes that it holds now. */
  long bytes() {
    return memory.byteSize();
  }

  @Override
  public void close() {
    if (arena.scope().isAlive()) {
      arena.close();
    }
  }
}
