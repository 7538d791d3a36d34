package io.gracebeam.worker.engine.libtorch;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import ai.djl.engine.EngineException;
import io.gracebeam.proto.error.GraceException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.List;
import java.util.Optional;
import java.util.ServiceLoader;

/**
 * Starts {@link MatrixProducts} where this machine can do them. Where the processor hides its
 * matrix instructions from libtorch, they take the place of its CPU kernel of {@code aten::mm} in
 * its dispatcher, below autograd: {@code linear} and its backward pass consist of such products.
 * Bfloat16 matrices go to {@link MatrixProducts}, all else to {@code aten::mm.out}, which stays
 * libtorch's.
 *
 * <p>No exception may leave a function that libtorch calls; it is kept and thrown when the operator
 * that caused it has returned.
 */
final class OwnProducts {
  /** System property: own, torch, or absent to choose by the processor. */
  static final String PROPERTY = "grace.libtorch.products";

  private static final Aten TORCHS_OWN = Aten.of("mm", "out");
  private static final int BFLOAT16 = 15;
  private static final int CPU = 0;
  private static final ThreadLocal<Scratch> SCRATCH = ThreadLocal.withInitial(Scratch::new);
  private static MatrixProducts products;
  private static boolean registered;

  /** What this thread's last product threw; read after every operator. */
  private static final ThreadLocal<RuntimeException[]> FAILURE =
      ThreadLocal.withInitial(() -> new RuntimeException[1]);

  private OwnProducts() {}

  /** Memory of one call. */
  private static final class Scratch {
    final MemorySegment stack = Arena.ofAuto().allocate(JAVA_LONG, 8);
    final MemorySegment sizes = Arena.ofAuto().allocate(JAVA_LONG, 4);
    final MemorySegment slot = Arena.ofAuto().allocate(JAVA_LONG, 2);
  }

  /** A matrix as libtorch describes it. */
  private record Operand(long handle, int type, long rows, long cols, long row, long col) {}

  /** Whether the products stand in libtorch's dispatcher. */
  static boolean installed() {
    return registered;
  }

  /** Whether this machine can do the products, in the dispatcher or not. */
  static boolean started() {
    return products != null;
  }

  /** What decides their bits; once started. */
  static String unit() {
    return products.unit();
  }

  /**
   * Starts the products, and puts them in libtorch's place where this processor hides its matrix
   * instructions from it, or as the property says.
   *
   * @throws GraceException USER if the property asks for what is not there
   */
  static synchronized void install(int threads) {
    String wish = System.getProperty(PROPERTY, "");
    if (!List.of("", "own", "torch").contains(wish)) {
      throw GraceException.user("%s is '%s'; allowed: own, torch", PROPERTY, wish);
    }
    if (wish.equals("torch") || products != null) {
      return;
    }
    Optional<MatrixProducts> found = start(threads);
    if (found.isEmpty()) {
      if (wish.equals("own")) {
        throw GraceException.user(
            "%s is own, but there are no native kernels for bfloat16 products here; allowed: torch",
            PROPERTY);
      }
      return;
    }
    if (wish.equals("own") || Processor.here().hidesTiles()) {
      register();
      registered = true;
    }
    products = found.get();
  }

  private static Optional<MatrixProducts> start(int threads) {
    long[] openMp = new long[3];
    int i = 0;
    for (String name : List.of("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")) {
      openMp[i++] = Natives.load().torch().find(name).map(MemorySegment::address).orElse(0L);
    }
    if (openMp[0] == 0 || openMp[1] == 0 || openMp[2] == 0) {
      return Optional.empty();
    }
    MatrixProducts.OpenMp runTime = new MatrixProducts.OpenMp(openMp[0], openMp[1], openMp[2]);
    return ServiceLoader.load(MatrixProducts.class).stream()
        .map(ServiceLoader.Provider::get)
        .filter(p -> p.start(runTime, threads))
        .findFirst();
  }

  private static void register() {
    try {
      MethodHandle target =
          MethodHandles.lookup()
              .findStatic(
                  OwnProducts.class,
                  "mm",
                  MethodType.methodType(void.class, long.class, long.class, long.class));
      MemorySegment function =
          Linker.nativeLinker()
              .upcallStub(
                  target,
                  FunctionDescriptor.ofVoid(JAVA_LONG, JAVA_LONG, JAVA_LONG),
                  Arena.global());
      MethodHandle open =
          Abi.torch(
              "aoti_torch_library_init_impl",
              JAVA_INT,
              ADDRESS,
              ADDRESS,
              ADDRESS,
              JAVA_INT,
              ADDRESS);
      MethodHandle place =
          Abi.torch("aoti_torch_library_impl", JAVA_INT, ADDRESS, ADDRESS, ADDRESS);
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment out = arena.allocate(ADDRESS);
        // libtorch keeps the texts' addresses.
        MemorySegment space = Arena.global().allocateFrom("aten");
        MemorySegment key = Arena.global().allocateFrom("CPU");
        MemorySegment source = Arena.global().allocateFrom("grace-beam");
        Aten.check((int) open.invokeExact(space, key, source, 0, out), "opening a library");
        Aten.check(
            (int)
                place.invokeExact(out.get(ADDRESS, 0), Arena.global().allocateFrom("mm"), function),
            "registering mm");
      }
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  /** Called by libtorch: two tensors, which are ours now, are replaced by their product. */
  @SuppressWarnings("unused")
  private static void mm(long stackAddress, long inputs, long outputs) {
    MemorySegment stack = MemorySegment.ofAddress(stackAddress).reinterpret(2 * Long.BYTES);
    long left = stack.getAtIndex(JAVA_LONG, 0);
    long right = stack.getAtIndex(JAVA_LONG, 1);
    try {
      stack.setAtIndex(JAVA_LONG, 0, product(left, right));
    } catch (Throwable e) {
      FAILURE.get()[0] = Abi.unexpected(e);
      stack.setAtIndex(JAVA_LONG, 0, left);
      release(right);
      return;
    }
    release(left);
    release(right);
  }

  /** Throws what a product that this thread's last operator wanted has thrown. */
  static void rethrow() {
    if (!registered) {
      return;
    }
    RuntimeException[] failure = FAILURE.get();
    RuntimeException thrown = failure[0];
    if (thrown != null) {
      failure[0] = null;
      throw thrown;
    }
  }

  private static long product(long left, long right) throws Throwable {
    Scratch scratch = SCRATCH.get();
    Operand a = operand(left, scratch);
    Operand b = operand(right, scratch);
    if (a == null || b == null || a.cols != b.rows || a.type != b.type) {
      throw new EngineException(
          "LibTorch: mm failed: %s times %s".formatted(describe(left), describe(right)));
    }
    long out = empty(a.rows, b.cols, a.type, scratch);
    boolean ours =
        a.type == BFLOAT16
            && a.rows > 0
            && a.cols > 0
            && b.cols > 0
            && products.takes(a.row, a.col)
            && products.takes(b.row, b.col);
    if (ours) {
      products.multiply(
          a.rows,
          b.cols,
          a.cols,
          new MatrixProducts.Operand(data(left, scratch), a.row, a.col),
          new MatrixProducts.Operand(data(right, scratch), b.row, b.col),
          data(out, scratch));
      return out;
    }
    MemorySegment stack = scratch.stack;
    stack.setAtIndex(JAVA_LONG, 0, copy(left, scratch));
    stack.setAtIndex(JAVA_LONG, 1, copy(right, scratch));
    stack.setAtIndex(JAVA_LONG, 2, out);
    TORCHS_OWN.call(stack);
    return stack.getAtIndex(JAVA_LONG, 0);
  }

  /** Null unless a matrix. A dimension of one element may have any stride. */
  private static Operand operand(long handle, Scratch s) throws Throwable {
    Aten.check((int) Abi.DIM.invokeExact(handle, s.slot.address()), "mm");
    if (s.slot.get(JAVA_LONG, 0) != 2) {
      return null;
    }
    Aten.check((int) Abi.DTYPE.invokeExact(handle, s.slot.address()), "mm");
    int type = s.slot.get(JAVA_INT, 0);
    Aten.check((int) Abi.SIZES.invokeExact(handle, s.slot.address()), "mm");
    MemorySegment sizes = MemorySegment.ofAddress(s.slot.get(JAVA_LONG, 0)).reinterpret(16);
    long rows = sizes.getAtIndex(JAVA_LONG, 0);
    long cols = sizes.getAtIndex(JAVA_LONG, 1);
    Aten.check((int) Abi.STRIDES.invokeExact(handle, s.slot.address()), "mm");
    MemorySegment strides = MemorySegment.ofAddress(s.slot.get(JAVA_LONG, 0)).reinterpret(16);
    long row = rows == 1 ? Math.max(1, cols) : strides.getAtIndex(JAVA_LONG, 0);
    long col = cols == 1 ? 1 : strides.getAtIndex(JAVA_LONG, 1);
    if (rows == 1 && col != 1) {
      row = 1;
    }
    return new Operand(handle, type, rows, cols, row, col);
  }

  private static String describe(long handle) {
    LibTorchArray.Described d = LibTorchArray.describe(handle);
    return d.type() + " " + d.shape();
  }

  private static long empty(long rows, long cols, int type, Scratch s) throws Throwable {
    s.sizes.setAtIndex(JAVA_LONG, 0, rows);
    s.sizes.setAtIndex(JAVA_LONG, 1, cols);
    s.sizes.setAtIndex(JAVA_LONG, 2, Math.max(1, cols));
    s.sizes.setAtIndex(JAVA_LONG, 3, 1);
    long at = s.sizes.address();
    Aten.check(
        (int) Abi.EMPTY.invokeExact(2L, at, at + 2 * Long.BYTES, type, CPU, 0, s.slot.address()),
        "out of memory for a product [%d, %d]".formatted(rows, cols));
    return s.slot.get(JAVA_LONG, 0);
  }

  private static long data(long handle, Scratch s) throws Throwable {
    Aten.check((int) Abi.DATA.invokeExact(handle, s.slot.address()), "mm");
    return s.slot.get(JAVA_LONG, 0);
  }

  private static long copy(long handle, Scratch s) throws Throwable {
    Aten.check((int) Abi.NEW_HANDLE.invokeExact(handle, s.slot.address()), "mm");
    return s.slot.get(JAVA_LONG, 0);
  }

  private static void release(long handle) {
    try {
      Aten.check((int) Abi.DELETE.invokeExact(handle), "mm");
    } catch (Throwable e) {
      FAILURE.get()[0] = Abi.unexpected(e);
    }
  }
}
