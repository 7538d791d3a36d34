package io.gracebeam.worker.kernels.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.HashMap;
import java.util.Map;

/** Plain memory, for emulated kernels. */
final class HostDevice implements Device {
  private final Map<Long, Arena> arenas = new HashMap<>();

  @Override
  public MemorySegment allocate(long bytes) {
    Arena arena = Arena.ofShared();
    MemorySegment memory = arena.allocate(bytes, 256);
    arenas.put(memory.address(), arena);
    return memory;
  }

  @Override
  public void free(MemorySegment memory) {
    arenas.remove(memory.address()).close();
  }

  @Override
  public void write(MemorySegment device, MemorySegment host) {
    device.copyFrom(host);
  }

  @Override
  public void read(MemorySegment device, MemorySegment host) {
    host.copyFrom(device);
  }

  @Override
  public void synchronize() {}

  @Override
  public void close() {
    arenas.values().forEach(Arena::close);
    arenas.clear();
  }
}
