package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;

/** Functions of an OpenMP run time that gives one thread whatever is asked for. */
final class OneThread {
  private OneThread() {}

  static long parallel(Arena arena) {
    return stub(arena, "parallel", FunctionDescriptor.ofVoid(ADDRESS, ADDRESS, JAVA_INT, JAVA_INT));
  }

  static long thread(Arena arena) {
    return stub(arena, "thread", FunctionDescriptor.of(JAVA_INT));
  }

  static long threads(Arena arena) {
    return stub(arena, "threads", FunctionDescriptor.of(JAVA_INT));
  }

  private static long stub(Arena arena, String method, FunctionDescriptor type) {
    try {
      MethodType java = type.toMethodType();
      MethodHandle target = MethodHandles.lookup().findStatic(OneThread.class, method, java);
      return Linker.nativeLinker().upcallStub(target, type, arena).address();
    } catch (ReflectiveOperationException e) {
      throw new AssertionError(e);
    }
  }

  @SuppressWarnings("unused")
  private static void parallel(MemorySegment body, MemorySegment data, int threads, int flags) {
    try {
      Linker.nativeLinker()
          .downcallHandle(body, FunctionDescriptor.ofVoid(ADDRESS))
          .invokeExact(data);
    } catch (Throwable e) {
      throw new AssertionError(e);
    }
  }

  @SuppressWarnings("unused")
  private static int thread() {
    return 0;
  }

  @SuppressWarnings("unused")
  private static int threads() {
    return 1;
  }
}
