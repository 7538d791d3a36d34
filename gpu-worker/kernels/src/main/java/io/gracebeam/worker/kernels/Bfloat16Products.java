package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * Products of bfloat16 matrices in native memory on AMX or AVX-512, on the threads of an OpenMP run
 * time that other code of the process uses in turn. Sums are float32 in an order that depends on
 * neither the threads nor the layout of the inputs. One call runs at a time.
 */
public final class Bfloat16Products implements AutoCloseable {
  private static final long SHAPE_BYTES = 64; // gk_gemm_shape
  private static final int TILES = 2; // of gk_gemm_present
  private static final long MOST = 1 << 24;

  private final boolean plain;
  private final NativeLibrary library;
  private final MemorySegment pool;
  private final MethodHandle scratchBytes;
  private final MethodHandle multiply;
  private final Arena own = Arena.ofShared();
  private final MemorySegment shape = own.allocate(SHAPE_BYTES, Long.BYTES);
  private final ScratchBuffer scratch;

  /**
   * Opens the products.
   *
   * @param parallel address of GOMP_parallel
   * @param thread address of omp_get_thread_num of the same run time
   * @param teams address of its omp_get_num_threads
   * @param threads that work together
   * @throws UnsupportedOperationException unless {@link #present}
   */
  public Bfloat16Products(long parallel, long thread, long teams, int threads) {
    this(parallel, thread, teams, threads, false);
  }

  /** Products without AMX, even where the processor has it, if {@code plain}. */
  Bfloat16Products(long parallel, long thread, long teams, int threads, boolean plain) {
    this.plain = plain;
    this.library = library();
    if (library == null) {
      throw new UnsupportedOperationException("no native kernels for bfloat16 products here");
    }
    this.pool = library.borrowPool(parallel, thread, teams, threads);
    this.scratch = new ScratchBuffer(library);
    this.scratchBytes = library.function("gk_gemm_scratch", JAVA_LONG, ADDRESS, ADDRESS);
    this.multiply =
        library.function(
            "gk_gemm_bf16",
            JAVA_INT,
            ADDRESS,
            ADDRESS,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_LONG,
            ADDRESS,
            JAVA_LONG);
  }

  /** Whether the native kernels are in use and the processor has AVX-512 for bfloat16. */
  public static boolean present() {
    return library() != null;
  }

  /** What they are computed with, which decides bits: "amx" or "avx512"; only if present. */
  public static String unit() {
    int unit = (int) NativeLibrary.call(library().function("gk_gemm_present", JAVA_INT));
    return unit == TILES ? "amx" : "avx512";
  }

  /** The kernels if {@link #present}, else null. */
  static NativeLibrary library() {
    if (!(KernelProvider.best() instanceof NativeKernels kernels)) {
      return null;
    }
    NativeLibrary library = kernels.library();
    int present = (int) NativeLibrary.call(library.function("gk_gemm_present", JAVA_INT));
    return present > 0 ? library : null;
  }

  /** Whether {@link #multiply} takes a matrix of these strides. */
  public static boolean strides(long row, long col) {
    return (row == 1 || col == 1) && row >= 1 && col >= 1 && row <= MOST && col <= MOST;
  }

  /**
   * A matrix in native memory, which must stay there while it is multiplied.
   *
   * @param address of its first number
   * @param row numbers from one row to the next
   * @param col numbers from one column to the next
   */
  public record Operand(long address, long row, long col) {}

  /**
   * c [m, n] = a [m, k] times b [k, n]; sizes are 1 to 2^24.
   *
   * @param c address of the result, row-major and dense
   * @throws IllegalArgumentException for sizes or strides out of range
   */
  public synchronized void multiply(long m, long n, long k, Operand a, Operand b, long c) {
    if (m < 1 || n < 1 || k < 1 || m > MOST || n > MOST || k > MOST) {
      throw Checks.error(
          "bfloat16 product", "has sizes %d, %d, %d, allowed 1 to %d", m, n, k, MOST);
    }
    if (!strides(a.row, a.col) || !strides(b.row, b.col)) {
      throw Checks.error(
          "bfloat16 product",
          "has strides (%d, %d) and (%d, %d), allowed with a 1 in each",
          a.row,
          a.col,
          b.row,
          b.col);
    }
    shape.set(JAVA_INT, 0, (int) m);
    shape.set(JAVA_INT, 4, (int) n);
    shape.set(JAVA_INT, 8, (int) k);
    long[] strides = {a.row, a.col, b.row, b.col, n};
    shape.set(JAVA_INT, 16, plain ? 1 : 0);
    MemorySegment.copy(strides, 0, shape, JAVA_LONG, 24, strides.length);
    try {
      MemorySegment space =
          scratch.atLeast(NativeLibrary.checked((long) scratchBytes.invokeExact(pool, shape)));
      NativeLibrary.checked(
          (int)
              multiply.invokeExact(pool, shape, a.address, b.address, c, space, space.byteSize()));
    } catch (Throwable e) {
      throw NativeLibrary.impossible(e);
    }
  }

  @Override
  public synchronized void close() {
    library.freePool(pool);
    scratch.close();
    own.close();
  }
}
