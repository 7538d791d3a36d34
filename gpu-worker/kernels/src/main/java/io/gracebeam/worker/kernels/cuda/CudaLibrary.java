package io.gracebeam.worker.kernels.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
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
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** The functions of {@code grace_cuda.h}. */
final class CudaLibrary {
  /** GKC_VERSION of the header that this class was written for. */
  static final int VERSION = 2;

  /** GKC_ESIZE: a size that does not fit the others, or is out of range. */
  static final int BAD_SIZE = -1;

  /** GKC_EALIGN: a pointer that is null or not aligned. */
  static final int BAD_POINTER = -2;

  /** GKC_EFORMAT: a weight of another version, or one whose fields contradict each other. */
  static final int BAD_FORMAT = -3;

  /** GKC_ESPACE: scratch space that is too small. */
  static final int NO_SPACE = -4;

  private static final String RESOURCE = "/native/linux-x86_64/libgrace_cuda.so";

  private final SymbolLookup symbols;
  private final Map<String, MethodHandle> functions = new ConcurrentHashMap<>();

  private CudaLibrary(SymbolLookup symbols) {
    this.symbols = symbols;
    int version = call("gkc_version");
    if (version != VERSION) {
      throw new UnsupportedOperationException(
          "the CUDA kernels have version %d, this program calls for %d"
              .formatted(version, VERSION));
    }
  }

  /**
   * Loads a library.
   *
   * @throws UnsupportedOperationException with one line that says why it cannot be used
   */
  static CudaLibrary open(Path file) {
    if (!Files.isRegularFile(file)) {
      throw new UnsupportedOperationException("there is no file %s".formatted(file));
    }
    try {
      return new CudaLibrary(SymbolLookup.libraryLookup(file.toAbsolutePath(), Arena.global()));
    } catch (IllegalArgumentException e) {
      throw new UnsupportedOperationException(
          "%s is no library of CUDA kernels: %s".formatted(file, e.getMessage()), e);
    }
  }

  /**
   * The library that the system property {@code grace.cuda} names, else the one in the jar.
   *
   * @throws UnsupportedOperationException with one line that says why there is none
   */
  static CudaLibrary load() {
    String named = System.getProperty("grace.cuda");
    if (named != null) {
      return open(Path.of(named));
    }
    try (InputStream in = CudaLibrary.class.getResourceAsStream(RESOURCE)) {
      if (in == null) {
        throw new UnsupportedOperationException(
            "the build found no nvcc and left the CUDA kernels out; -Dgrace.cuda=FILE names a"
                + " library built elsewhere");
      }
      Path file = Files.createTempFile("grace-cuda", ".so");
      try {
        Files.copy(in, file, java.nio.file.StandardCopyOption.REPLACE_EXISTING);
        return open(file);
      } finally {
        Files.deleteIfExists(file); // a loaded library does not need its file
      }
    } catch (IOException e) {
      throw new UnsupportedOperationException(
          "the CUDA kernels cannot be unpacked: " + e.getMessage(), e);
    }
  }

  /** Whether the kernels run on a GPU; if not, they are emulated and device memory is plain. */
  boolean onDevice() {
    return call("gkc_on_device") == 1;
  }

  /**
   * Calls a function that returns int32_t; arguments are Integer, Long, Float, Double and
   * MemorySegment, as its declaration has them.
   */
  int call(String name, Object... arguments) {
    MethodHandle function = functions.computeIfAbsent(name, n -> link(n, JAVA_INT, arguments));
    return (int) invoke(function, arguments);
  }

  /** Calls a function that returns int64_t; arguments as in {@link #call}. */
  long callLong(String name, Object... arguments) {
    MethodHandle function = functions.computeIfAbsent(name, n -> link(n, JAVA_LONG, arguments));
    return (long) invoke(function, arguments);
  }

  /** Calls a function that returns nothing; arguments as in {@link #call}. */
  void run(String name, Object... arguments) {
    invoke(functions.computeIfAbsent(name, n -> link(n, null, arguments)), arguments);
  }

  /** Calls a function whose negative result is an error of this program. */
  void checked(String name, Object... arguments) {
    int result = call(name, arguments);
    if (result < 0) {
      throw new IllegalStateException("%s refuses a call: %s".formatted(name, explain(result)));
    }
  }

  /** What an error code of the header means. */
  static String explain(int code) {
    return switch (code) {
      case BAD_SIZE -> "a size does not fit the others, or is out of range";
      case BAD_POINTER -> "a pointer is null or not aligned";
      case BAD_FORMAT -> "a weight has another version, or fields that contradict each other";
      case NO_SPACE -> "scratch space is too small";
      case -6 -> "the device has too little memory";
      case -7 -> "the device refused a kernel";
      case -8 -> "there is no GPU, or its driver is older than the CUDA of this library";
      default -> "code " + code;
    };
  }

  private MethodHandle link(String name, MemoryLayout result, Object... arguments) {
    MemorySegment address =
        symbols
            .find(name)
            .orElseThrow(() -> new UnsupportedOperationException("the CUDA kernels lack " + name));
    MemoryLayout[] layouts = new MemoryLayout[arguments.length];
    for (int i = 0; i < layouts.length; i++) {
      layouts[i] =
          switch (arguments[i]) {
            case Integer _ -> JAVA_INT;
            case Long _ -> JAVA_LONG;
            case Float _ -> JAVA_FLOAT;
            case Double _ -> JAVA_DOUBLE;
            case MemorySegment _ -> ADDRESS;
            default -> throw new IllegalArgumentException("no argument of C: " + arguments[i]);
          };
    }
    FunctionDescriptor type =
        result == null
            ? FunctionDescriptor.ofVoid(layouts)
            : FunctionDescriptor.of(result, layouts);
    return Linker.nativeLinker().downcallHandle(address, type);
  }

  private static Object invoke(MethodHandle function, Object... arguments) {
    try {
      return function.invokeWithArguments(arguments);
    } catch (Error | RuntimeException e) {
      throw e;
    } catch (Throwable e) {
      throw new IllegalStateException(e); // C functions throw nothing
    }
  }
}
