package io.gracebeam.worker.kernels;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** Native memory that grows, and keeps nothing of what was in it then. */
final class NativeRoom implements AutoCloseable {
  private final NativeLibrary library;
  private Arena arena = Arena.ofShared();
  private MemorySegment memory = MemorySegment.NULL;

  NativeRoom(NativeLibrary library) {
    this.library = library;
  }

  /** At least so many bytes, the same memory as long as they suffice. */
  MemorySegment of(long bytes) {
    if (memory.byteSize() < bytes) {
      arena.close();
      arena = Arena.ofShared();
      memory = MemorySegment.NULL;
      memory = library.reserve(bytes, arena);
    }
    return memory;
  }

  /** How many they are. */
  long bytes() {
    return memory.byteSize();
  }

  @Override
  public void close() {
    arena.close();
  }
}
