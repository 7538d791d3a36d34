package io.gracebeam.worker.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;

/**
 * The functions of {@code grace_kernels.h}, from the library that the build put into the jar. Made
 * once per process by {@link KernelProvider}.
 */
final class NativeLibrary {
  /** GK_VERSION of the header that this class was written for. */
  static final int VERSION = 5;

  /** GK_WIDE, GK_ZEROS: scales of 4 bytes, zero points. */
  static final int WIDE = 1;

  static final int ZEROS = 2;

  /** Names of the instruction sets, GK_SCALAR first. */
  private static final String[] ISA = {"plain C", "AVX2", "AVX-512 VNNI", "AMX"};

  private static final int NO_MEMORY = -6; // GK_EMEMORY

  private static final String FOLDER = "/native/linux-x86_64/";
  private static final String FILE = "libgrace_kernels.so";

  private final SymbolLookup symbols;
  private final MethodHandle poolNew;
  private final MethodHandle poolFree;
  private final MethodHandle weightBytes;
  private final MethodHandle pack;
  private final MethodHandle scratch;
  private final MethodHandle matmul;
  private final MethodHandle packDense;
  private final MethodHandle reserve;
  private final MethodHandle release;
  private final MethodHandle random;
  private final MethodHandle read;
  private final MethodHandle decoderNew;
  private final MethodHandle decoderFree;
  private final MethodHandle decoderBytes;
  private final MethodHandle forward;
  private final MethodHandle logits;
  private final int isa;

  private NativeLibrary(SymbolLookup symbols) {
    this.symbols = symbols;
    int version = (int) call(function("gk_version", JAVA_INT));
    if (version != VERSION) {
      throw new UnsupportedOperationException(
          "the native kernels have version %d, this program calls for %d"
              .formatted(version, VERSION));
    }
    this.poolNew = function("gk_pool_new", ADDRESS, JAVA_INT);
    this.poolFree = procedure("gk_pool_free", ADDRESS);
    this.weightBytes =
        function("gk_weight_bytes", JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT);
    this.pack =
        function(
            "gk_pack", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT,
            JAVA_INT, ADDRESS, JAVA_LONG);
    this.scratch = function("gk_matmul_scratch", JAVA_LONG, ADDRESS, JAVA_LONG, JAVA_INT);
    this.matmul =
        function(
            "gk_matmul",
            JAVA_INT,
            ADDRESS,
            JAVA_INT,
            ADDRESS,
            JAVA_LONG,
            ADDRESS,
            JAVA_INT,
            ADDRESS,
            ADDRESS,
            JAVA_LONG);
    this.packDense =
        function(
            "gk_pack_dense", JAVA_INT, ADDRESS, JAVA_INT, JAVA_INT, JAVA_INT, ADDRESS, JAVA_LONG);
    this.reserve = function("gk_reserve", ADDRESS, JAVA_LONG);
    this.release = procedure("gk_release", ADDRESS, JAVA_LONG);
    this.random =
        function(
            "gk_random_weight",
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_LONG,
            ADDRESS,
            JAVA_LONG);
    this.read = function("gk_read", JAVA_LONG, ADDRESS, ADDRESS, JAVA_LONG);
    this.decoderNew =
        function(
            "gk_decoder_new",
            JAVA_INT,
            ADDRESS,
            JAVA_INT,
            ADDRESS,
            ADDRESS,
            ADDRESS,
            JAVA_INT,
            ADDRESS);
    this.decoderFree = procedure("gk_decoder_free", ADDRESS);
    this.decoderBytes = function("gk_decoder_bytes", JAVA_LONG, ADDRESS);
    this.forward =
        function("gk_forward", JAVA_INT, ADDRESS, JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS);
    this.logits = function("gk_logits", JAVA_INT, ADDRESS, JAVA_INT, ADDRESS, ADDRESS);
    this.isa = (int) call(function("gk_best_isa", JAVA_INT));
  }

  /**
   * Loads the library.
   *
   * @throws UnsupportedOperationException with one line that says why it cannot be used here
   */
  static NativeLibrary load() {
    String system = System.getProperty("os.name") + " on " + System.getProperty("os.arch");
    if (!system.toLowerCase(Locale.ROOT).matches("linux on (amd64|x86_64)")) {
      throw new UnsupportedOperationException("native kernels exist for linux-x86_64 only");
    }
    try (InputStream in = NativeLibrary.class.getResourceAsStream(FOLDER + FILE)) {
      if (in == null) {
        throw new UnsupportedOperationException(
            "the build found no C compiler and left the native kernels out");
      }
      Path folder = Files.createTempDirectory("grace-kernels");
      Path file = folder.resolve(FILE);
      try {
        Files.copy(in, file);
        return new NativeLibrary(SymbolLookup.libraryLookup(file, Arena.global()));
      } catch (IllegalArgumentException e) {
        throw new UnsupportedOperationException(
            "the native kernels cannot be loaded: " + e.getMessage(), e);
      } finally {
        // A loaded library does not need its file.
        Files.deleteIfExists(file);
        Files.deleteIfExists(folder);
      }
    } catch (IOException e) {
      throw new UnsupportedOperationException(
          "the native kernels cannot be unpacked: " + e.getMessage(), e);
    }
  }

  /** The best instruction set of this processor. */
  int bestIsa() {
    return isa;
  }

  static String isaName(int isa) {
    return ISA[isa];
  }

  MemorySegment newPool(int threads) {
    MemorySegment pool = (MemorySegment) call(poolNew, threads);
    if (pool.equals(MemorySegment.NULL)) {
      throw new IllegalStateException("the system refuses %d kernel threads".formatted(threads));
    }
    return pool;
  }

  /** A pool on the threads of the OpenMP run time with these functions. */
  MemorySegment borrowPool(long parallel, long thread, long teams, int threads) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment pool =
          (MemorySegment)
              call(
                  function("gk_pool_borrow", ADDRESS, ADDRESS, JAVA_INT),
                  arena.allocateFrom(JAVA_LONG, parallel, thread, teams),
                  threads);
      if (pool.equals(MemorySegment.NULL)) {
        throw new IllegalStateException(
            "the native kernels refuse %d borrowed threads".formatted(threads));
      }
      return pool;
    }
  }

  void freePool(MemorySegment pool) {
    call(poolFree, pool);
  }

  /** Zeroed memory, in huge pages where the system gives them; given back with the arena. */
  MemorySegment reserve(long bytes, Arena arena) {
    MemorySegment memory = (MemorySegment) call(reserve, bytes);
    if (memory.equals(MemorySegment.NULL)) {
      throw new IllegalStateException("the system refuses %d bytes of memory".formatted(bytes));
    }
    return memory.reinterpret(bytes, arena, m -> call(release, m, bytes));
  }

  long weightBytes(int bits, int rows, int cols, int group, int form) {
    return checked((long) call(weightBytes, bits, rows, cols, group, form));
  }

  void pack(PackedWeight w, int form, MemorySegment out) {
    try (Arena source = Arena.ofConfined()) {
      MemorySegment words = source.allocateFrom(JAVA_INT, w.words());
      MemorySegment scales = source.allocateFrom(JAVA_FLOAT, w.scales());
      MemorySegment zeros =
          w.symmetric() ? MemorySegment.NULL : source.allocateFrom(JAVA_BYTE, w.zeros());
      int group = w.groupSize();
      checked(
          (int)
              call(
                  pack,
                  words,
                  scales,
                  zeros,
                  w.bits(),
                  w.rows(),
                  w.cols(),
                  group,
                  form,
                  out,
                  out.byteSize()));
    }
  }

  long scratchBytes(MemorySegment weight, int m) {
    return checked((long) call(scratch, weight, weight.byteSize(), m));
  }

  void matmul(
      MemorySegment pool,
      int with,
      MemorySegment weight,
      MemorySegment x,
      int m,
      MemorySegment y,
      MemorySegment space) {
    int result;
    try {
      result =
          (int)
              matmul.invokeExact(
                  pool, with, weight, weight.byteSize(), x, m, y, space, space.byteSize());
    } catch (Throwable e) {
      throw impossible(e);
    }
    checked(result);
  }

  void packDense(MemorySegment values, int bits, int rows, int cols, MemorySegment out) {
    checked((int) call(packDense, values, bits, rows, cols, out, out.byteSize()));
  }

  void random(int bits, int rows, int cols, int group, long seed, MemorySegment out) {
    checked((int) call(random, bits, rows, cols, group, seed, out, out.byteSize()));
  }

  void read(MemorySegment pool, MemorySegment memory) {
    checked((long) call(read, pool, memory, memory.byteSize()));
  }

  MemorySegment newDecoder(
      MemorySegment pool, int with, MemorySegment config, List<MemorySegment> tensors) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment pointers = arena.allocate(ADDRESS, tensors.size());
      MemorySegment bytes = arena.allocate(JAVA_LONG, tensors.size());
      for (int i = 0; i < tensors.size(); i++) {
        pointers.setAtIndex(ADDRESS, i, tensors.get(i));
        bytes.setAtIndex(JAVA_LONG, i, tensors.get(i).byteSize());
      }
      MemorySegment out = arena.allocate(ADDRESS);
      int code = (int) call(decoderNew, pool, with, config, pointers, bytes, tensors.size(), out);
      if (code == NO_MEMORY) {
        throw new IllegalStateException("the system refuses the memory of a decoder");
      }
      checked(code);
      return out.get(ADDRESS, 0);
    }
  }

  void freeDecoder(MemorySegment decoder) {
    call(decoderFree, decoder);
  }

  long decoderBytes(MemorySegment decoder) {
    return (long) call(decoderBytes, decoder);
  }

  void forward(
      MemorySegment decoder,
      int rows,
      MemorySegment slots,
      MemorySegment positions,
      MemorySegment rope,
      MemorySegment x) {
    int result;
    try {
      result = (int) forward.invokeExact(decoder, rows, slots, positions, rope, x);
    } catch (Throwable e) {
      throw impossible(e);
    }
    checked(result);
  }

  void logits(MemorySegment decoder, int rows, MemorySegment x, MemorySegment out) {
    int result;
    try {
      result = (int) logits.invokeExact(decoder, rows, x, out);
    } catch (Throwable e) {
      throw impossible(e);
    }
    checked(result);
  }

  /** Java has checked everything before, so an error code is a fault of this program. */
  static long checked(long result) {
    if (result < 0) {
      throw new IllegalStateException("the native kernels refuse a call with code " + result);
    }
    return result;
  }

  MethodHandle function(String name, MemoryLayout result, MemoryLayout... arguments) {
    return link(name, FunctionDescriptor.of(result, arguments));
  }

  private MethodHandle procedure(String name, MemoryLayout... arguments) {
    return link(name, FunctionDescriptor.ofVoid(arguments));
  }

  /**
   * A function of a pool, an instruction set and these arguments, whose addresses may be arrays.
   */
  MethodHandle onHeap(String name, MemoryLayout... arguments) {
    MemoryLayout[] all = new MemoryLayout[arguments.length + 2];
    all[0] = ADDRESS;
    all[1] = JAVA_INT;
    System.arraycopy(arguments, 0, all, 2, arguments.length);
    return link(name, FunctionDescriptor.of(JAVA_INT, all), Linker.Option.critical(true));
  }

  private MethodHandle link(String name, FunctionDescriptor type, Linker.Option... options) {
    MemorySegment address =
        symbols
            .find(name)
            .orElseThrow(
                () -> new UnsupportedOperationException("the native kernels lack " + name));
    return Linker.nativeLinker().downcallHandle(address, type, options);
  }

  static Object call(MethodHandle handle, Object... arguments) {
    try {
      return handle.invokeWithArguments(arguments);
    } catch (Throwable e) {
      throw impossible(e);
    }
  }

  /** C functions throw nothing, so the JVM threw this. */
  static RuntimeException impossible(Throwable e) {
    if (e instanceof Error error) {
      throw error;
    }
    return e instanceof RuntimeException own ? own : new IllegalStateException(e);
  }
}
