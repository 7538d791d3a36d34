package io.gracebeam.worker.kernels.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.HashSet;
import java.util.Set;

/** The device that a library of kernels runs on: a GPU, or plain memory under emulation. */
final class LibraryDevice implements Device {
  private final CudaLibrary library;
  private final Set<Long> reserved = new HashSet<>();

  LibraryDevice(CudaLibrary library) {
    this.library = library;
  }

  /** The GPU's name. */
  String name() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(256);
      library.checked("gkc_device_name", out, 256);
      return out.getString(0, UTF_8);
    }
  }

  @Override
  public MemorySegment allocate(long bytes) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ADDRESS);
      library.checked("gkc_reserve", bytes, out);
      MemorySegment memory = out.get(ADDRESS, 0).reinterpret(bytes);
      reserved.add(memory.address());
      return memory;
    }
  }

  @Override
  public void free(MemorySegment memory) {
    if (!reserved.remove(memory.address())) {
      throw new IllegalStateException("this memory is not reserved");
    }
    library.checked("gkc_release", memory);
  }

  @Override
  public void write(MemorySegment device, MemorySegment host) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment own = arena.allocate(host.byteSize(), 16).copyFrom(host);
      library.checked("gkc_write", device, own, host.byteSize());
    }
  }

  @Override
  public void read(MemorySegment device, MemorySegment host) {
    library.checked("gkc_read", host, device, host.byteSize());
  }

  @Override
  public void synchronize() {
    library.checked("gkc_wait");
  }

  @Override
  public void close() {
    for (long address : Set.copyOf(reserved)) {
      free(MemorySegment.ofAddress(address));
    }
  }
}
