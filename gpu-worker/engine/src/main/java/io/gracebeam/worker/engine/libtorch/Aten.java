package io.gracebeam.worker.engine.libtorch;

import ai.djl.engine.EngineException;
import ai.djl.ndarray.types.DataType;
import io.gracebeam.proto.error.GraceException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import java.util.StringJoiner;

/**
 * An ATen operator, called by name through libtorch's dispatcher, so with autograd. Arguments are
 * given in the order of the operator's schema, every one of them.
 *
 * <pre>{@code
 * private static final Aten SOFTMAX = Aten.of("softmax", "int");
 * LibTorchArray y = SOFTMAX.call().tensor(x).integer(-1).none().array(manager);
 * }</pre>
 *
 * <p>Rules of the C interface: tensors and lists that go in are consumed, results belong to the
 * caller, an argument is 64 bits, a missing optional one is 0, a present one a pointer to a
 * malloc'ed slot. Operators with an argument of type Scalar cannot be called this way.
 */
final class Aten {
  private static final int MAX_ARGUMENTS = 64;
  private static final int MAX_NAMED = 6;
  private static final ThreadLocal<Call> CALL = ThreadLocal.withInitial(Call::new);
  private static final long VERSION = Abi.packedVersion();

  private final MemorySegment name;
  private final MemorySegment overload;
  private final String label;

  private Aten(String name, String overload) {
    this.name = Arena.global().allocateFrom("aten::" + name);
    this.overload = Arena.global().allocateFrom(overload);
    this.label = overload.isEmpty() ? name : name + "." + overload;
  }

  static Aten of(String name) {
    return new Aten(name, "");
  }

  static Aten of(String name, String overload) {
    return new Aten(name, overload);
  }

  /** Starts a call on this thread; one that was begun and not run is given up. */
  Call call() {
    return CALL.get().start(this);
  }

  /** An operator's arguments, and then its results. One per thread, used again and again. */
  static final class Call {
    private final MemorySegment stack =
        Arena.ofAuto().allocate(ValueLayout.JAVA_LONG, MAX_ARGUMENTS);
    private final MemorySegment slot = Arena.ofAuto().allocate(ValueLayout.JAVA_LONG, 2);
    private final long stackAddress = stack.address();
    private final LibTorchArray[] inputs = new LibTorchArray[MAX_ARGUMENTS];
    private Aten operator;
    private int arguments;
    private int tensors;
    private long[] list;

    private Call() {}

    private Call start(Aten next) {
      operator = next;
      arguments = 0;
      tensors = 0;
      list = null;
      return this;
    }

    Call tensor(LibTorchArray array) {
      return push(reference(array));
    }

    /** A tensor, or none where null. */
    Call optional(LibTorchArray array) {
      return array == null ? none() : some(reference(array));
    }

    /** A missing optional argument. */
    Call none() {
      return push(0);
    }

    Call integer(long value) {
      return push(value);
    }

    Call real(double value) {
      return push(Double.doubleToRawLongBits(value));
    }

    Call flag(boolean value) {
      return push(value ? 1 : 0);
    }

    Call type(DataType type) {
      return push(Types.torch(type));
    }

    Call optionalReal(double value) {
      return some(Double.doubleToRawLongBits(value));
    }

    Call optionalInteger(long value) {
      return some(value);
    }

    Call optionalFlag(boolean value) {
      return some(value ? 1 : 0);
    }

    Call integers(long... values) {
      long made = newList(values.length);
      for (long value : values) {
        append(made, value);
      }
      list = values;
      return push(made);
    }

    Call optionalIntegers(long... values) {
      integers(values);
      return some(stack.getAtIndex(ValueLayout.JAVA_LONG, --arguments));
    }

    Call arrays(List<LibTorchArray> arrays) {
      long made = newList(arrays.size());
      for (LibTorchArray array : arrays) {
        append(made, reference(array));
      }
      return push(made);
    }

    /** A list of optional tensors, null for a missing one. */
    Call optionalArrays(List<LibTorchArray> arrays) {
      long made = newList(arrays.size());
      for (LibTorchArray array : arrays) {
        append(made, array == null ? 0 : boxed(reference(array)));
      }
      return push(made);
    }

    Call text(String value) {
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment bytes = arena.allocateFrom(value);
        checked(
            (int)
                Abi.STRING_NEW.invokeExact(bytes.address(), bytes.byteSize() - 1, slot.address()));
        return push(slot.get(ValueLayout.JAVA_LONG, 0));
      } catch (Throwable e) {
        throw abandoned(e);
      }
    }

    /** Runs the operator, which returns nothing. */
    void run() {
      Aten called = operator;
      operator = null;
      int failed;
      try {
        failed =
            (int)
                Abi.CALL.invokeExact(
                    called.name.address(), called.overload.address(), stackAddress, VERSION);
      } catch (Throwable e) {
        throw Abi.unexpected(e);
      }
      OwnProducts.rethrow();
      if (failed != 0) {
        throw failure(called);
      }
      Arrays.fill(inputs, 0, tensors, null);
    }

    /** Runs the operator; its one result as an array of the manager. */
    LibTorchArray array(LibTorchManager manager) {
      run();
      return result(manager, 0);
    }

    /** After {@link #run}: the tensor that is result i. */
    LibTorchArray result(LibTorchManager manager, int i) {
      return new LibTorchArray(manager, stack.getAtIndex(ValueLayout.JAVA_LONG, i));
    }

    /** After {@link #run}: the one result, a yes or no. */
    boolean truth() {
      return (stack.getAtIndex(ValueLayout.JAVA_LONG, 0) & 0xFF) != 0;
    }

    /** Runs the operator; its one result, a list of tensors. */
    LibTorchArray[] list(LibTorchManager manager) {
      run();
      long found = stack.getAtIndex(ValueLayout.JAVA_LONG, 0);
      try {
        check((int) Abi.LIST_SIZE.invokeExact(found, slot.address()), "list size");
        LibTorchArray[] out = new LibTorchArray[(int) slot.get(ValueLayout.JAVA_LONG, 0)];
        for (int i = 0; i < out.length; i++) {
          check((int) Abi.LIST_GET.invokeExact(found, (long) i, slot.address()), "list item");
          out[i] = new LibTorchArray(manager, slot.get(ValueLayout.JAVA_LONG, 0));
        }
        check((int) Abi.LIST_DELETE.invokeExact(found), "list end");
        return out;
      } catch (Throwable e) {
        throw Abi.unexpected(e);
      }
    }

    private Call push(long value) {
      if (operator == null) {
        throw GraceException.bug("an argument came after its call; is a call inside of another?");
      }
      stack.setAtIndex(ValueLayout.JAVA_LONG, arguments++, value);
      return this;
    }

    private Call some(long value) {
      return push(boxed(value));
    }

    private long boxed(long value) {
      try {
        long address = (long) Abi.MALLOC.invokeExact(8L);
        MemorySegment.ofAddress(address).reinterpret(8).set(ValueLayout.JAVA_LONG, 0, value);
        return address;
      } catch (Throwable e) {
        throw abandoned(e);
      }
    }

    private long reference(LibTorchArray array) {
      if (tensors < MAX_ARGUMENTS) {
        inputs[tensors++] = array;
      }
      try {
        checked((int) Abi.NEW_HANDLE.invokeExact(array.handle(), slot.address()));
        return slot.get(ValueLayout.JAVA_LONG, 0);
      } catch (Throwable e) {
        throw abandoned(e);
      }
    }

    private long newList(int size) {
      try {
        checked((int) Abi.LIST_NEW.invokeExact((long) size, slot.address()));
        return slot.get(ValueLayout.JAVA_LONG, 0);
      } catch (Throwable e) {
        throw abandoned(e);
      }
    }

    private void append(long to, long value) {
      try {
        checked((int) Abi.LIST_PUSH.invokeExact(to, value));
      } catch (Throwable e) {
        throw abandoned(e);
      }
    }

    private void checked(int failed) {
      check(failed, operator.label);
    }

    private RuntimeException abandoned(Throwable e) {
      operator = null;
      return Abi.unexpected(e);
    }

    private RuntimeException failure(Aten called) {
      List<LibTorchArray> operands = List.of(Arrays.copyOf(inputs, tensors));
      Arrays.fill(inputs, 0, tensors, null);
      return Aten.failure(named(called.label, operands, list), Shortage.of(operands, list));
    }
  }

  /** Runs the operator on a stack that holds its arguments, from within another one. */
  void call(MemorySegment stack) throws Throwable {
    check(
        (int) Abi.CALL.invokeExact(name.address(), overload.address(), stack.address(), VERSION),
        label);
  }

  /** "mul(float32 (2, 3), float32 (3))"; of many operands the first. */
  static String named(String label, List<LibTorchArray> operands, long[] list) {
    StringJoiner given = new StringJoiner(", ", label + "(", ")");
    operands.stream()
        .limit(MAX_NAMED)
        .forEach(x -> given.add(x.getDataType() + " " + x.getShape()));
    if (operands.size() > MAX_NAMED) {
      given.add("and %d more".formatted(operands.size() - MAX_NAMED));
    }
    if (list != null) {
      given.add(Arrays.toString(list));
    }
    return given.toString();
  }

  /** Throws where a C function reported an error. */
  static void check(int failed, String where) {
    if (failed != 0) {
      throw failure(where, "");
    }
  }

  /** Throws where an operator of these operands reported an error. */
  static void check(int failed, String label, LibTorchArray... operands) {
    if (failed != 0) {
      List<LibTorchArray> all = List.of(operands);
      throw failure(named(label, all, null), Shortage.of(all, null));
    }
  }

  /** Of an operator; `shortage` says what memory it lacked, if any, where torch gives no text. */
  private static RuntimeException failure(String where, String shortage) {
    String what = firstLine(Abi.what());
    if (what.contains("can't allocate memory") || what.contains("out of memory")) {
      return GraceException.environment("LibTorch: out of memory in %s: %s", where, what);
    }
    if (what.isEmpty() && !shortage.isEmpty()) {
      return GraceException.environment("LibTorch: out of memory in %s: %s", where, shortage);
    }
    return new EngineException(
        "LibTorch: %s failed%s".formatted(where, what.isEmpty() ? "" : ": " + what));
  }

  private static String firstLine(String text) {
    return text.lines().findFirst().orElse("");
  }
}
