package io.gracebeam.worker.engine.libtorch;

import ai.djl.Device;
import ai.djl.ndarray.types.Shape;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/**
 * Whether an operator failed for want of memory. libtorch before 2.13 does not say why an operator
 * failed, so an allocation of what its result most likely takes is tried: where that fails too,
 * memory is the reason.
 */
final class Shortage {
  private static final int UINT8 = 0;
  private static final long ENDLESS = Long.MAX_VALUE;

  private Shortage() {}

  /**
   * What was lacking, for people; empty if memory was not.
   *
   * @param operands of the operator that failed
   * @param list its list of whole numbers, which may be a shape or repetitions; null for none
   */
  static String of(List<LibTorchArray> operands, long[] list) {
    if (operands.isEmpty() || operands.stream().anyMatch(LibTorchArray::isReleased)) {
      return "";
    }
    Device device = operands.get(0).getDevice();
    long bytes = likelyBytes(operands, list);
    return available(bytes, device) ? "" : "no %s bytes on %s".formatted(text(bytes), device);
  }

  private static String text(long bytes) {
    return bytes == ENDLESS ? "2^63" : Long.toString(bytes);
  }

  /** Bytes of the largest result that these operands can have, by the usual rules of shapes. */
  private static long likelyBytes(List<LibTorchArray> operands, long[] list) {
    long most = 0;
    for (LibTorchArray x : operands) {
      most = Math.max(most, x.size());
    }
    if (list != null) {
      long times = 1;
      for (long n : list) {
        times = product(times, Math.max(1, n));
      }
      most = Math.max(most, product(times, operands.get(0).size()));
    }
    if (operands.size() > 1) {
      Shape a = operands.get(0).getShape();
      Shape b = operands.get(1).getShape();
      most = Math.max(most, Math.max(broadcast(a, b), matrices(a, b)));
    }
    return product(most, operands.get(0).getDataType().getNumOfBytes());
  }

  /** Elements of a result of both, each repeated along the other; 0 where they do not fit. */
  private static long broadcast(Shape a, Shape b) {
    long out = 1;
    for (int i = 1; i <= Math.max(a.dimension(), b.dimension()); i++) {
      long one = i > a.dimension() ? 1 : a.get(a.dimension() - i);
      long other = i > b.dimension() ? 1 : b.get(b.dimension() - i);
      if (one != other && one != 1 && other != 1) {
        return 0;
      }
      out = product(out, one == 1 ? other : one);
    }
    return out;
  }

  /** Elements of a b or a b^T; 0 where they do not fit. */
  private static long matrices(Shape a, Shape b) {
    if (a.dimension() < 2 || b.dimension() < 2) {
      return 0;
    }
    long inner = a.get(a.dimension() - 1);
    long rows = inner == 0 ? 0 : a.size() / inner;
    long first = b.get(b.dimension() - 2);
    long last = b.get(b.dimension() - 1);
    return Math.max(
        inner == first ? product(rows, last) : 0, inner == last ? product(rows, first) : 0);
  }

  private static long product(long a, long b) {
    long high = Math.multiplyHigh(a, b);
    long low = a * b;
    return high != 0 || low < 0 ? ENDLESS : low;
  }

  private static boolean available(long bytes, Device device) {
    if (bytes == ENDLESS) {
      return false;
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      int failed =
          (int)
              Abi.EMPTY.invokeExact(
                  1L,
                  arena.allocateFrom(ValueLayout.JAVA_LONG, bytes).address(),
                  arena.allocateFrom(ValueLayout.JAVA_LONG, 1L).address(),
                  UINT8,
                  device.isGpu() ? LibTorchManager.CUDA : LibTorchManager.CPU,
                  Math.max(0, device.getDeviceId()),
                  out.address());
      if (failed == 0) {
        Aten.check((int) Abi.DELETE.invokeExact(out.get(ValueLayout.JAVA_LONG, 0)), "a trial");
      }
      return failed == 0;
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }
}
