package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;

/** The library in C with threads of its own; one call runs at a time, on all of them. */
final class NativeSession implements AutoCloseable {
  /** GK_EVALUE. */
  private static final int BAD_NUMBER = -7;

  private final NativeLibrary library;
  private final int isa;
  private final int threads;
  private final MemorySegment pool;
  private final ReentrantLock lock = new ReentrantLock();
  private boolean closed;

  /**
   * Starts the threads, which end with {@link #close}.
   *
   * @param isa instruction set, at most the library's best
   */
  NativeSession(NativeLibrary library, int isa, int threads) {
    this.library = library;
    this.isa = isa;
    this.threads = threads;
    this.pool = library.newPool(threads);
  }

  NativeLibrary library() {
    return library;
  }

  /** Instruction set of all calls. */
  int isa() {
    return isa;
  }

  /** The library's handle of the threads. */
  MemorySegment pool() {
    return pool;
  }

  /** Instruction set and number of threads. */
  String describe() {
    return NativeLibrary.isaName(isa) + ", " + threads + " thread(s)";
  }

  /** Calls the body when no other call runs. */
  <T> T locked(Supplier<T> body) {
    lock.lock();
    try {
      if (closed) {
        throw new IllegalStateException("the native kernels are closed");
      }
      return body.get();
    } finally {
      lock.unlock();
    }
  }

  /** {@link #locked} for a body without a result. */
  void locking(Runnable body) {
    locked(
        () -> {
          body.run();
          return null;
        });
  }

  /**
   * Calls a function of {@link NativeLibrary#onHeap}; under the lock.
   *
   * @return whether all numbers were finite
   */
  boolean run(MethodHandle handle, Object... arguments) {
    return code(handle, arguments) != BAD_NUMBER;
  }

  /** {@link #run} with the function's own result. */
  int code(MethodHandle handle, Object... arguments) {
    Object[] with = new Object[arguments.length + 2];
    with[0] = pool;
    with[1] = isa;
    System.arraycopy(arguments, 0, with, 2, arguments.length);
    int code = (int) NativeLibrary.call(handle, with);
    return code == BAD_NUMBER ? code : (int) NativeLibrary.checked(code);
  }

  @Override
  public void close() {
    lock.lock();
    try {
      if (!closed) {
        closed = true;
        library.freePool(pool);
      }
    } finally {
      lock.unlock();
    }
  }
}
