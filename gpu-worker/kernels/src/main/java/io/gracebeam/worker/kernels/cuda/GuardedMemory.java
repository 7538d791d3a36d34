package io.gracebeam.worker.kernels.cuda;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Arrays on a device for one check. Each lies between two fences, outputs start as NaN, and {@link
 * #close} throws if a fence was written.
 */
final class GuardedMemory implements AutoCloseable {
  private static final int FENCE = 256;
  private static final byte FENCE_BYTE = (byte) 0xa5;
  private static final byte POISON = (byte) 0xff; // floats, doubles and bfloat16 of it are NaN

  private record Block(MemorySegment whole, long bytes) {}

  private final Device device;
  private final List<Block> blocks = new ArrayList<>();

  GuardedMemory(Device device) {
    this.device = device;
  }

  /** A poisoned output. */
  MemorySegment output(long bytes) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment host = arena.allocate(bytes);
      host.fill(POISON);
      return place(host);
    }
  }

  /** Zeros. */
  MemorySegment zeros(long bytes) {
    try (Arena arena = Arena.ofConfined()) {
      return place(arena.allocate(bytes));
    }
  }

  MemorySegment floats(float... values) {
    return place(MemorySegment.ofArray(values));
  }

  MemorySegment ints(int... values) {
    return place(MemorySegment.ofArray(values));
  }

  MemorySegment bytes(byte... values) {
    return place(MemorySegment.ofArray(values));
  }

  MemorySegment shorts(short... values) {
    return place(MemorySegment.ofArray(values));
  }

  MemorySegment doubles(double... values) {
    return place(MemorySegment.ofArray(values));
  }

  float[] readFloats(MemorySegment memory, int n) {
    return host(memory, 4L * n).toArray(JAVA_FLOAT);
  }

  double[] readDoubles(MemorySegment memory, int n) {
    return host(memory, 8L * n).toArray(JAVA_DOUBLE);
  }

  int[] readInts(MemorySegment memory, int n) {
    return host(memory, 4L * n).toArray(JAVA_INT);
  }

  short[] readShorts(MemorySegment memory, int n) {
    return host(memory, 2L * n).toArray(JAVA_SHORT);
  }

  byte[] readBytes(MemorySegment memory, int n) {
    return host(memory, n).toArray(JAVA_BYTE);
  }

  private MemorySegment host(MemorySegment memory, long bytes) {
    MemorySegment host = Arena.ofAuto().allocate(bytes, 16);
    device.synchronize();
    device.read(memory.asSlice(0, bytes), host);
    return host;
  }

  private MemorySegment place(MemorySegment values) {
    long bytes = values.byteSize();
    MemorySegment whole = device.allocate(bytes + 2 * FENCE);
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment host = arena.allocate(whole.byteSize());
      host.fill(FENCE_BYTE);
      host.asSlice(FENCE, bytes).copyFrom(values);
      device.write(whole, host);
    }
    blocks.add(new Block(whole, bytes));
    return whole.asSlice(FENCE, bytes);
  }

  /** Whether every byte of an output is as it was made. */
  boolean untouched(MemorySegment output) {
    for (byte b : host(output, output.byteSize()).toArray(JAVA_BYTE)) {
      if (b != POISON) {
        return false;
      }
    }
    return true;
  }

  @Override
  public void close() {
    boolean broken = false;
    for (Block b : blocks) {
      byte[] all = host(b.whole, b.whole.byteSize()).toArray(JAVA_BYTE);
      for (int i = 0; i < FENCE; i++) {
        broken |= all[i] != FENCE_BYTE || all[all.length - 1 - i] != FENCE_BYTE;
      }
      device.free(b.whole);
    }
    blocks.clear();
    if (broken) {
      throw new IllegalStateException("a kernel wrote outside of its arrays");
    }
  }
}
