package io.gracebeam.worker.engine.libtorch;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.internal.NDArrayEx;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A tensor of libtorch. This class holds its memory, values and gradient; the operators are in
 * {@link ArrayOperators}. Values of bfloat16 and float16 arrays are read and written as float32.
 */
public final class LibTorchArray extends ArrayOperators {
  private static final Aten CONTIGUOUS = Aten.of("contiguous");
  private static final Aten TO = Aten.of("to", "dtype");
  private static final Aten CLONE = Aten.of("clone");
  private static final Aten DETACH = Aten.of("detach");

  private final AtomicLong handle;

  /** Takes the handle over. */
  LibTorchArray(LibTorchManager manager, long handle) {
    super(manager, shapeOf(handle), typeOf(handle));
    this.handle = new AtomicLong(handle);
    try {
      manager.attachInternal(getUid(), this);
    } catch (RuntimeException e) {
      close(); // a closed manager takes nothing
      throw e;
    }
    NDScope.register(this);
  }

  /** The array as one of this engine; IllegalArgumentException where it is another's. */
  static LibTorchArray of(NDArray array) {
    if (array instanceof LibTorchArray own) {
      return own;
    }
    throw new IllegalArgumentException(
        "an array of the engine %s met one of %s; allowed: arrays of one engine"
            .formatted(
                array == null ? null : array.getManager().getEngine().getEngineName(),
                LibTorchEngine.NAME));
  }

  /** libtorch's handle; IllegalStateException after the array or its manager was closed. */
  long handle() {
    long value = handle.get();
    if (value == 0) {
      throw new IllegalStateException(
          "array %s %s %s was closed, or its manager was"
              .formatted(getName() == null ? getUid() : getName(), dataType, shape));
    }
    return value;
  }

  /** Address of the first value, on the array's device. */
  public long address() {
    return pointer(Abi.DATA);
  }

  /** Owner of the array, and so of what is computed from it. */
  LibTorchManager manager() {
    handle();
    return (LibTorchManager) manager;
  }

  @Override
  public Device getDevice() {
    Header header = Header.OF_THREAD.get();
    try {
      Aten.check((int) Abi.DEVICE_TYPE.invokeExact(handle(), header.address), "reading a device");
      if (header.slot.get(ValueLayout.JAVA_INT, 0) == LibTorchManager.CPU) {
        return Device.cpu();
      }
      Aten.check((int) Abi.DEVICE_INDEX.invokeExact(handle(), header.address), "reading a device");
      return Device.gpu(Math.max(0, header.slot.get(ValueLayout.JAVA_INT, 0)));
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  @Override
  public void detach() {
    manager.detachInternal(getUid());
    manager = LibTorchManager.SYSTEM;
  }

  @Override
  public void close() {
    long value = handle.getAndSet(0);
    if (value != 0) {
      super.close();
      LibTorchGradientCollector.forget(this);
      try {
        Aten.check((int) Abi.DELETE.invokeExact(value), "closing an array");
      } catch (Throwable e) {
        throw Abi.unexpected(e);
      }
    }
  }

  @Override
  public boolean isReleased() {
    return handle.get() == 0;
  }

  /** Takes the other array's tensor over; the other is closed without it. */
  @Override
  public void intern(NDArray replaced) {
    LibTorchArray other = of(replaced);
    long taken = other.handle.getAndSet(0);
    if (taken == 0) {
      throw new IllegalStateException("a closed array cannot be taken over");
    }
    NDManager owner = other.manager;
    owner.detachInternal(other.getUid());
    other.isClosed = true;
    long old = handle.getAndSet(taken);
    shape = other.shape;
    dataType = other.dataType;
    try {
      Aten.check((int) Abi.DELETE.invokeExact(old), "replacing an array");
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  /** Overwrites all values, as no operator that is recorded for gradients. */
  @Override
  public void set(Buffer data) {
    if (getDevice().isGpu()) {
      try (LibTorchArray here = LibTorchManager.SYSTEM.create(shape, dataType);
          LibTorchArray target = detached()) {
        here.set(data);
        target.copyFrom(here);
      }
      return;
    }
    requireContiguous();
    Values.write(segment(), dataType, data, shape);
  }

  @Override
  public void set(NDIndex index, NDArray value) {
    getNDArrayInternal().getIndexer(manager()).set(this, index, value);
  }

  @Override
  public void set(NDIndex index, Number value) {
    getNDArrayInternal().getIndexer(manager()).set(this, index, value);
  }

  @Override
  public void setScalar(NDIndex index, Number value) {
    set(index, value);
  }

  /** Copies values of an equally shaped array, converting type and device. */
  void copyFrom(LibTorchArray source) {
    try {
      Aten.check(
          (int) Abi.COPY.invokeExact(handle(), source.handle(), 0), "copying " + dataType + shape);
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  @Override
  public ByteBuffer toByteBuffer(boolean tryDirect) {
    try (LibTorchArray values = onCpu()) {
      ByteBuffer out =
          ByteBuffer.allocate(Math.toIntExact(size() * dataType.getNumOfBytes()))
              .order(ByteOrder.nativeOrder());
      MemorySegment.ofBuffer(out).copyFrom(values.segment());
      return out;
    }
  }

  @Override
  public float[] toFloatArray() {
    try (LibTorchArray values = onCpu()) {
      return Values.floats(values.segment(), dataType, new float[Math.toIntExact(size())]);
    }
  }

  /** Copies the values, as {@link #toFloatArray} gives them, into an array of their number. */
  public void read(float[] into) {
    if (into.length != size()) {
      throw new IllegalArgumentException(
          "%d floats cannot hold an array %s".formatted(into.length, shape));
    }
    try (LibTorchArray values = onCpu()) {
      Values.floats(values.segment(), dataType, into);
    }
  }

  /** The values as numbers; bfloat16 ones as floats. */
  @Override
  public Number[] toArray() {
    if (dataType != DataType.BFLOAT16) {
      return super.toArray();
    }
    float[] values = toFloatArray();
    Float[] out = new Float[values.length];
    java.util.Arrays.setAll(out, i -> values[i]);
    return out;
  }

  /** These values, row-major, in CPU memory: a new handle, or a copy where one is needed. */
  private LibTorchArray onCpu() {
    LibTorchArray flat = CONTIGUOUS.call().tensor(this).integer(0).array(LibTorchManager.SYSTEM);
    NDScope.unregister(flat);
    if (!getDevice().isGpu()) {
      return flat;
    }
    LibTorchArray out = LibTorchManager.SYSTEM.create(shape, dataType);
    NDScope.unregister(out);
    try (flat) {
      out.copyFrom(flat);
    }
    return out;
  }

  /**
   * The values in CPU memory, row-major, while the array is open.
   *
   * @throws UnsupportedOperationException for views that are not row-major, and on a GPU
   */
  public MemorySegment memory() {
    if (getDevice().isGpu()) {
      throw new UnsupportedOperationException(
          "values of an array %s on %s are not in CPU memory".formatted(shape, getDevice()));
    }
    requireContiguous();
    return segment();
  }

  /** Lets the body read and write the values in CPU memory, row-major, until it returns. */
  public void update(java.util.function.Consumer<MemorySegment> body) {
    body.accept(memory());
  }

  private MemorySegment segment() {
    long bytes = size() * dataType.getNumOfBytes();
    return bytes == 0
        ? MemorySegment.NULL.reinterpret(0)
        : MemorySegment.ofAddress(address()).reinterpret(bytes);
  }

  private void requireContiguous() {
    if (!isContiguous()) {
      throw new UnsupportedOperationException(
          "values cannot be set in a view %s that is not row-major".formatted(shape));
    }
  }

  /** Whether the values lie row-major, without gaps. */
  public boolean isContiguous() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      Aten.check((int) Abi.CONTIGUOUS.invokeExact(handle(), out.address()), "reading strides");
      return out.get(ValueLayout.JAVA_BYTE, 0) != 0;
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  void zero() {
    try {
      Aten.check((int) Abi.ZERO.invokeExact(handle()), "zeroing " + dataType + shape);
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  void fill(double value) {
    try {
      Aten.check((int) Abi.FILL.invokeExact(handle(), value), "filling " + dataType + shape);
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  /** A copy with memory of its own. */
  @Override
  public NDArray duplicate() {
    return CLONE.call().tensor(this).optionalInteger(0).array(manager());
  }

  @Override
  public LibTorchArray toType(DataType type, boolean copy) {
    return TO.call().tensor(this).type(type).flag(false).flag(copy).none().array(manager());
  }

  @Override
  public NDArray toDevice(Device device, boolean copy) {
    if (device.equals(getDevice())) {
      return copy ? duplicate() : this;
    }
    LibTorchArray out = manager().create(shape, dataType, device);
    out.copyFrom(this);
    return out;
  }

  @Override
  public NDArray stopGradient() {
    return detached();
  }

  private LibTorchArray detached() {
    return DETACH.call().tensor(this).array(manager());
  }

  /** Makes the array a leaf whose gradient, at first zero, backward passes add to. */
  @Override
  public void setRequiresGradient(boolean wanted) {
    if (wanted && !dataType.isFloating()) {
      throw new IllegalArgumentException(
          "an array of %s has no gradient; allowed: floating types".formatted(dataType));
    }
    try {
      Aten.check((int) Abi.REQUIRE_GRADIENT.invokeExact(handle(), wanted), "asking for a gradient");
      long gradient = (long) Abi.MUTABLE_GRADIENT.invokeExact(impl());
      if (wanted) {
        LibTorchGradientCollector.register(this);
        if (!defined(gradient)) {
          try (LibTorchArray zeros = manager().create(shape, dataType, getDevice())) {
            zeros.zero();
            Aten.check((int) Abi.ASSIGN.invokeExact(zeros.handle(), gradient), "a first gradient");
          }
        }
      } else {
        LibTorchGradientCollector.forget(this);
      }
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  @Override
  public boolean hasGradient() {
    try {
      return (boolean) Abi.REQUIRES_GRADIENT.invokeExact(impl())
          && defined((long) Abi.GRADIENT.invokeExact(impl()));
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  /** The gradient itself, as a new handle: what is written to it is written to the gradient. */
  @Override
  public NDArray getGradient() {
    if (!hasGradient()) {
      return null;
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      long gradient = (long) Abi.GRADIENT.invokeExact(impl());
      Aten.check((int) Abi.NEW_HANDLE.invokeExact(gradient, out.address()), "reading a gradient");
      return new LibTorchArray(manager(), out.get(ValueLayout.JAVA_LONG, 0));
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  /** The gradient, which becomes a float32 one whatever the leaf's type; null without one. */
  public LibTorchArray wideGradient() {
    if (!hasGradient()) {
      return null;
    }
    LibTorchArray present = (LibTorchArray) getGradient();
    if (present.getDataType() == DataType.FLOAT32) {
      return present;
    }
    try (present) {
      LibTorchArray wide = present.toType(DataType.FLOAT32, true);
      long gradient = (long) Abi.MUTABLE_GRADIENT.invokeExact(impl());
      Aten.check((int) Abi.ASSIGN.invokeExact(wide.handle(), gradient), "a float32 gradient");
      return wide;
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  void zeroGradient() {
    try {
      long gradient = (long) Abi.GRADIENT.invokeExact(impl());
      Aten.check((int) Abi.ZERO.invokeExact(gradient), "zeroing a gradient");
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  @Override
  public List<NDArray> getResourceNDArrays() {
    return List.of(this);
  }

  @Override
  public NDArrayEx getNDArrayInternal() {
    return new LibTorchArrayEx(this);
  }

  /** A handle points to an at::Tensor, which is a pointer to its TensorImpl. */
  private long impl() {
    return MemorySegment.ofAddress(handle()).reinterpret(8).get(ValueLayout.JAVA_LONG, 0);
  }

  private static boolean defined(long tensor) throws Throwable {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      Aten.check((int) Abi.DEFINED.invokeExact(tensor, out.address()), "reading a tensor");
      return out.get(ValueLayout.JAVA_BYTE, 0) != 0;
    }
  }

  private long pointer(java.lang.invoke.MethodHandle getter) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      Aten.check((int) getter.invokeExact(handle(), out.address()), "reading an address");
      return out.get(ValueLayout.JAVA_LONG, 0);
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  /** Type and shape of a tensor that is no array. */
  record Described(DataType type, Shape shape) {}

  static Described describe(long handle) {
    return new Described(typeOf(handle), shapeOf(handle));
  }

  private static Shape shapeOf(long handle) {
    Header header = Header.OF_THREAD.get();
    try {
      Aten.check((int) Abi.DIM.invokeExact(handle, header.address), "reading a shape");
      int rank = (int) header.slot.get(ValueLayout.JAVA_LONG, 0);
      Aten.check((int) Abi.SIZES.invokeExact(handle, header.address), "reading a shape");
      long[] sizes = new long[rank];
      MemorySegment from =
          MemorySegment.ofAddress(header.slot.get(ValueLayout.JAVA_LONG, 0)).reinterpret(8L * rank);
      MemorySegment.copy(from, ValueLayout.JAVA_LONG, 0, sizes, 0, rank);
      return new Shape(sizes);
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  private static DataType typeOf(long handle) {
    Header header = Header.OF_THREAD.get();
    try {
      Aten.check((int) Abi.DTYPE.invokeExact(handle, header.address), "reading a type");
      return Types.djl(header.slot.get(ValueLayout.JAVA_INT, 0));
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  /** Where getters write, one per thread. */
  private static final class Header {
    static final ThreadLocal<Header> OF_THREAD = ThreadLocal.withInitial(Header::new);
    final MemorySegment slot = Arena.ofAuto().allocate(ValueLayout.JAVA_LONG);
    final long address = slot.address();
  }
}
