package io.gracebeam.worker.engine.libtorch;

import static java.lang.foreign.ValueLayout.JAVA_BOOLEAN;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.gracebeam.proto.error.GraceException;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.Optional;

/**
 * libtorch's C functions as method handles. Pointers travel as longs. Functions that may not be
 * there are null; a missing one that is needed ends the binding with its name.
 *
 * <p>Two things have no C function: the gradient of a tensor and the number of threads. They are
 * reached by their C++ names, which have not changed since libtorch 1.x.
 */
final class Abi {
  /** torch_call_dispatcher(name, overload, stack, version). */
  static final MethodHandle CALL =
      torch("torch_call_dispatcher", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG);

  static final MethodHandle VERSION = quick("aoti_torch_abi_version", JAVA_LONG);
  static final MethodHandle NEW_HANDLE =
      quick("aoti_torch_new_tensor_handle", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle DELETE = torch("aoti_torch_delete_tensor_object", JAVA_INT, JAVA_LONG);
  static final MethodHandle UNDEFINED =
      torch("aoti_torch_new_uninitialized_tensor", JAVA_INT, JAVA_LONG);
  static final MethodHandle ASSIGN =
      torch("aoti_torch_assign_tensors", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle DIM = quick("aoti_torch_get_dim", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle SIZES = quick("aoti_torch_get_sizes", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle STRIDES =
      quick("aoti_torch_get_strides", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle DTYPE = quick("aoti_torch_get_dtype", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle DATA = quick("aoti_torch_get_data_ptr", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle DEVICE_TYPE =
      quick("aoti_torch_get_device_type", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle DEVICE_INDEX =
      quick("aoti_torch_get_device_index", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle CONTIGUOUS =
      quick("aoti_torch_is_contiguous", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle DEFINED =
      quick("aoti_torch_is_defined", JAVA_INT, JAVA_LONG, JAVA_LONG);

  /** aoti_torch_empty_strided(ndim, sizes, strides, dtype, device type, device index, out). */
  static final MethodHandle EMPTY =
      torch(
          "aoti_torch_empty_strided",
          JAVA_INT,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_INT,
          JAVA_INT,
          JAVA_INT,
          JAVA_LONG);

  /** aoti_torch_copy_(to, from, non blocking). */
  static final MethodHandle COPY =
      torch("aoti_torch_copy_", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_INT);

  static final MethodHandle ZERO = torch("aoti_torch_zero_", JAVA_INT, JAVA_LONG);

  /** aoti_torch_aten_fill__Scalar(self, value). */
  static final MethodHandle FILL =
      torch("aoti_torch_aten_fill__Scalar", JAVA_INT, JAVA_LONG, JAVA_DOUBLE);

  /** aoti_torch_aten_subtract_Tensor(a, b, alpha, out): a - alpha b, differentiable. */
  static final MethodHandle SUBTRACT =
      torch(
          "aoti_torch_aten_subtract_Tensor",
          JAVA_INT,
          JAVA_LONG,
          JAVA_LONG,
          JAVA_DOUBLE,
          JAVA_LONG);

  static final MethodHandle SCALAR_FLOAT =
      torch("aoti_torch_scalar_to_tensor_float64", JAVA_INT, JAVA_DOUBLE, JAVA_LONG);
  static final MethodHandle SCALAR_LONG =
      torch("aoti_torch_scalar_to_tensor_int64", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle REQUIRE_GRADIENT =
      torch("torch_set_requires_grad", JAVA_INT, JAVA_LONG, JAVA_BOOLEAN);
  static final MethodHandle GRADIENT_MODE =
      torchVoid("aoti_torch_grad_mode_set_enabled", JAVA_BOOLEAN);

  static final MethodHandle LIST_NEW =
      quick("torch_new_list_reserve_size", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle LIST_PUSH =
      quick("torch_list_push_back", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle LIST_SIZE = quick("torch_list_size", JAVA_INT, JAVA_LONG, JAVA_LONG);
  static final MethodHandle LIST_GET =
      quick("torch_list_get_item", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG);
  static final MethodHandle LIST_DELETE = quick("torch_delete_list", JAVA_INT, JAVA_LONG);
  static final MethodHandle STRING_NEW =
      quick("torch_new_string_handle", JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG);
  static final MethodHandle MALLOC =
      bind(
          Linker.nativeLinker().defaultLookup(),
          "malloc",
          FunctionDescriptor.of(JAVA_LONG, JAVA_LONG));

  /** torch_exception_get_what_without_backtrace(); null before 2.13. */
  static final MethodHandle WHAT =
      optional("torch_exception_get_what_without_backtrace", FunctionDescriptor.of(JAVA_LONG));

  /** const Tensor&amp; c10::TensorImpl::grad() const. */
  static final MethodHandle GRADIENT =
      bind(
          Natives.load().c10(),
          "_ZNK3c1010TensorImpl4gradEv",
          FunctionDescriptor.of(JAVA_LONG, JAVA_LONG));

  /** Tensor&amp; c10::TensorImpl::mutable_grad(). */
  static final MethodHandle MUTABLE_GRADIENT =
      bind(
          Natives.load().c10(),
          "_ZN3c1010TensorImpl12mutable_gradEv",
          FunctionDescriptor.of(JAVA_LONG, JAVA_LONG));

  static final MethodHandle REQUIRES_GRADIENT =
      bind(
          Natives.load().c10(),
          "_ZNK3c1010TensorImpl13requires_gradEv",
          FunctionDescriptor.of(JAVA_BOOLEAN, JAVA_LONG));

  private static final MethodHandle SET_THREADS =
      bind(
          Natives.load().torch(), "_ZN2at15set_num_threadsEi", FunctionDescriptor.ofVoid(JAVA_INT));

  /** Oldest libtorch whose C functions suffice: 2.10. */
  static final int OLDEST_MINOR = 10;

  private Abi() {}

  /** Version as "2.10.0"; the C functions of another major version are refused. */
  static String version() {
    long packed = packedVersion();
    long major = packed >>> 56;
    long minor = (packed >>> 48) & 0xFF;
    long patch = (packed >>> 40) & 0xFF;
    if (major != 2 || minor < OLDEST_MINOR) {
      throw GraceException.environment(
          "LibTorch: %s has version %d.%d.%d; allowed: 2.%d or newer",
          Natives.load().folder(), major, minor, patch, OLDEST_MINOR);
    }
    return "%d.%d.%d".formatted(major, minor, patch);
  }

  /** Version as libtorch's functions take it. */
  static long packedVersion() {
    try {
      return (long) VERSION.invokeExact();
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Threads inside an operator, and of OpenBLAS, which keeps a pool of its own. */
  static void setThreads(int threads) {
    try {
      SET_THREADS.invokeExact(threads);
      if (Natives.has("libopenblas.so.0")) {
        bind(
                Natives.more("libopenblas.so.0"),
                "openblas_set_num_threads",
                FunctionDescriptor.ofVoid(JAVA_INT))
            .invokeExact(threads);
      }
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /**
   * Makes operators deterministic, or those fail that cannot be; as
   * torch.use_deterministic_algorithms does, but memory that is not yet written stays as it is.
   * Then cuDNN computes in float32 where that is asked for, not in TF32.
   */
  static void setDeterministic(boolean wanted) {
    SymbolLookup torch = Natives.load().torch();
    try {
      long context =
          (long)
              bind(torch, "_ZN2at13globalContextEv", FunctionDescriptor.of(JAVA_LONG))
                  .invokeExact();
      bind(
              torch,
              "_ZN2at7Context26setDeterministicAlgorithmsEbb",
              FunctionDescriptor.ofVoid(JAVA_LONG, JAVA_BOOLEAN, JAVA_BOOLEAN))
          .invokeExact(context, wanted, false);
      contextFlag("_ZN2at7Context21setDeterministicCuDNNEb").invokeExact(context, wanted);
      contextFlag("_ZN2at7Context17setAllowTF32CuDNNEb").invokeExact(context, !wanted);
      contextFlag("_ZN2at7Context39setDeterministicFillUninitializedMemoryEb")
          .invokeExact(context, false);
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  private static MethodHandle contextFlag(String name) {
    return bind(Natives.load().torch(), name, FunctionDescriptor.ofVoid(JAVA_LONG, JAVA_BOOLEAN));
  }

  /** CUDA devices that torch can use; its CUDA operators must have been loaded. */
  static int devices() {
    try {
      return (int)
          (long)
              bind(
                      Natives.load().torch(),
                      "_ZN5torch4cuda12device_countEv",
                      FunctionDescriptor.of(JAVA_LONG))
                  .invokeExact();
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Lets c10 read TORCH_CPP_LOG_LEVEL, which it does by itself only under Python. */
  static void readLogLevel() {
    try {
      bind(Natives.load().c10(), "_ZN3c1011initLoggingEv", FunctionDescriptor.ofVoid())
          .invokeExact();
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Torch's text of the last error on this thread; empty where this libtorch keeps none. */
  static String what() {
    if (WHAT == null) {
      return "";
    }
    try {
      long text = (long) WHAT.invokeExact();
      return text == 0
          ? ""
          : MemorySegment.ofAddress(text).reinterpret(1 << 16).getString(0).strip();
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Method handles declare Throwable; a call into libtorch throws none. */
  static RuntimeException unexpected(Throwable e) {
    return e instanceof RuntimeException r
        ? r
        : GraceException.bug("LibTorch: a native call failed: %s", e).withCause(e);
  }

  static MethodHandle torch(String name, MemoryLayout result, MemoryLayout... arguments) {
    return bind(Natives.load().torch(), name, FunctionDescriptor.of(result, arguments));
  }

  private static MethodHandle torchVoid(String name, MemoryLayout... arguments) {
    return bind(Natives.load().torch(), name, FunctionDescriptor.ofVoid(arguments));
  }

  /** For functions that return at once: the thread stays in Java's state. */
  private static MethodHandle quick(String name, MemoryLayout result, MemoryLayout... arguments) {
    return bind(
        Natives.load().torch(),
        name,
        FunctionDescriptor.of(result, arguments),
        Linker.Option.critical(false));
  }

  private static MethodHandle optional(String name, FunctionDescriptor type) {
    Optional<MemorySegment> found = Natives.load().torch().find(name);
    return found.map(a -> Linker.nativeLinker().downcallHandle(a, type)).orElse(null);
  }

  private static MethodHandle bind(
      SymbolLookup lookup, String name, FunctionDescriptor type, Linker.Option... options) {
    MemorySegment address =
        lookup
            .find(name)
            .orElseThrow(
                () ->
                    GraceException.environment(
                        "LibTorch: the libraries in %s lack %s; allowed: libtorch 2.%d or newer",
                        Natives.load().folder(), name, OLDEST_MINOR));
    return Linker.nativeLinker().downcallHandle(address, type, options);
  }
}
