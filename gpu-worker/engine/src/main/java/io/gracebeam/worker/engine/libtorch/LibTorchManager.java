package io.gracebeam.worker.engine.libtorch;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.BaseNDManager;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDResource;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.proto.error.GraceException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.math.BigInteger;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Random;
import java.util.random.RandomGenerator;

/**
 * Owner of arrays on one device. Values are always copied into libtorch's memory. Random numbers
 * are drawn in Java, so that a seed gives the same ones on every device.
 */
public class LibTorchManager extends BaseNDManager {
  /** Parent of all; arrays that are detached belong to it and live until they are closed. */
  static final LibTorchManager SYSTEM = new SystemManager();

  /** Torch's numbers of device types. */
  static final int CPU = 0;

  static final int CUDA = 1;
  private static final NDManager NONE = new NoAlternative();
  private static RandomGenerator random = new Random();

  private LibTorchManager(NDManager parent, Device device) {
    super(parent, device);
  }

  /** What operators that this engine lacks end at. */
  static NDManager none() {
    return NONE;
  }

  static synchronized void seed(int seed) {
    random = new Random(seed);
  }

  @Override
  public Engine getEngine() {
    return Engine.getEngine(LibTorchEngine.NAME);
  }

  @Override
  public LibTorchManager newSubManager(Device device) {
    if (device.isGpu()) {
      ((LibTorchEngine) getEngine()).requireCuda();
    }
    LibTorchManager manager = new LibTorchManager(this, device);
    attachUncappedInternal(manager.uid, manager);
    return manager;
  }

  @Override
  public ByteBuffer allocateDirect(int capacity) {
    return ByteBuffer.allocateDirect(capacity).order(ByteOrder.nativeOrder());
  }

  /** The array itself if it is of this engine, else a copy. */
  @Override
  public NDArray from(NDArray array) {
    if (array == null || array instanceof LibTorchArray) {
      return array;
    }
    return create(array.toByteBuffer(), array.getShape(), array.getDataType());
  }

  /**
   * An array of undefined values, row-major.
   *
   * @throws GraceException ENVIRONMENT where there is no memory for it
   */
  @Override
  public LibTorchArray create(Shape shape, DataType type) {
    return create(shape, type, device);
  }

  /** An array of undefined values on a device of choice; it still belongs to this manager. */
  @Override
  public LibTorchArray create(Shape shape, DataType type, Device device) {
    if (device.isGpu()) {
      ((LibTorchEngine) getEngine()).requireCuda();
    }
    long[] sizes = shape.getShape();
    long[] strides = new long[sizes.length];
    long next = 1;
    for (int i = sizes.length - 1; i >= 0; i--) {
      if (sizes[i] < 0) {
        throw new IllegalArgumentException("an array of shape " + shape + " was asked for");
      }
      strides[i] = next;
      if (next > Long.MAX_VALUE / Math.max(1, sizes[i])) {
        throw refused(shape, type, device);
      }
      next *= Math.max(1, sizes[i]);
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      int failed =
          (int)
              Abi.EMPTY.invokeExact(
                  (long) sizes.length,
                  arena.allocateFrom(ValueLayout.JAVA_LONG, sizes).address(),
                  arena.allocateFrom(ValueLayout.JAVA_LONG, strides).address(),
                  Types.torch(type),
                  device.isGpu() ? CUDA : CPU,
                  Math.max(0, device.getDeviceId()),
                  out.address());
      if (failed != 0) {
        throw refused(shape, type, device);
      }
      return new LibTorchArray(this, out.get(ValueLayout.JAVA_LONG, 0));
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  private RuntimeException refused(Shape shape, DataType type, Device where) {
    int gpus = where.isGpu() ? getEngine().getGpuCount() : 0;
    if (where.isGpu() && where.getDeviceId() >= gpus) {
      return GraceException.environment(
          "LibTorch: an array was asked for on %s, but there are %d GPUs; allowed: cpu%s",
          where, gpus, gpus == 0 ? "" : ", gpu(0) to gpu(%d)".formatted(gpus - 1));
    }
    return GraceException.environment(
        "LibTorch: out of memory: no %s bytes for an array %s of %s on %s",
        BigInteger.valueOf(type.getNumOfBytes()).multiply(elements(shape)), shape, type, where);
  }

  private static BigInteger elements(Shape shape) {
    return Arrays.stream(shape.getShape())
        .mapToObj(BigInteger::valueOf)
        .reduce(BigInteger.ONE, BigInteger::multiply);
  }

  @Override
  public NDArray create(Buffer data, Shape shape, DataType type) {
    LibTorchArray array = create(shape, type);
    array.set(data);
    return array;
  }

  @Override
  public NDArray zeros(Shape shape, DataType type) {
    LibTorchArray array = create(shape, type);
    array.zero();
    return array;
  }

  @Override
  public NDArray ones(Shape shape, DataType type) {
    return full(shape, 1, type);
  }

  @Override
  public NDArray full(Shape shape, float value, DataType type) {
    LibTorchArray array = create(shape, type);
    array.fill(value);
    return array;
  }

  @Override
  public NDArray arange(float start, float stop, float step, DataType type) {
    int count = (int) Math.max(0, Math.ceil((stop - (double) start) / step));
    double[] values = new double[count];
    for (int i = 0; i < count; i++) {
      values[i] = start + i * (double) step;
    }
    return of(values, new Shape(count), type);
  }

  @Override
  public NDArray eye(int rows, int columns, int diagonal, DataType type) {
    double[] values = new double[Math.multiplyExact(rows, columns)];
    for (int i = 0; i < rows; i++) {
      if (i + diagonal >= 0 && i + diagonal < columns) {
        values[i * columns + i + diagonal] = 1;
      }
    }
    return of(values, new Shape(rows, columns), type);
  }

  @Override
  public NDArray linspace(float start, float stop, int count, boolean endpoint) {
    double[] values = new double[count];
    for (int i = 0; i < count; i++) {
      values[i] = start + (stop - (double) start) * i / Math.max(1, endpoint ? count - 1 : count);
    }
    return of(values, new Shape(count), DataType.FLOAT32);
  }

  @Override
  public NDArray randomInteger(long low, long high, Shape shape, DataType type) {
    double[] values = new double[Math.toIntExact(shape.size())];
    synchronized (LibTorchManager.class) {
      Arrays.setAll(values, i -> random.nextLong(low, high));
    }
    return of(values, shape, type);
  }

  @Override
  public NDArray randomPermutation(long n) {
    double[] values = new double[Math.toIntExact(n)];
    Arrays.setAll(values, i -> i);
    synchronized (LibTorchManager.class) {
      for (int i = values.length - 1; i > 0; i--) {
        int j = random.nextInt(i + 1);
        double swapped = values[i];
        values[i] = values[j];
        values[j] = swapped;
      }
    }
    return of(values, new Shape(n), DataType.INT64);
  }

  @Override
  public NDArray randomUniform(float low, float high, Shape shape, DataType type) {
    double[] values = new double[Math.toIntExact(shape.size())];
    synchronized (LibTorchManager.class) {
      Arrays.setAll(values, i -> low + (high - (double) low) * random.nextDouble());
    }
    return of(values, shape, type);
  }

  @Override
  public NDArray randomNormal(float mean, float deviation, Shape shape, DataType type) {
    double[] values = new double[Math.toIntExact(shape.size())];
    synchronized (LibTorchManager.class) {
      Arrays.setAll(values, i -> mean + deviation * random.nextGaussian());
    }
    return of(values, shape, type);
  }

  /** Redraws what falls more than two deviations from the mean. */
  @Override
  public NDArray truncatedNormal(float mean, float deviation, Shape shape, DataType type) {
    double[] values = new double[Math.toIntExact(shape.size())];
    synchronized (LibTorchManager.class) {
      for (int i = 0; i < values.length; i++) {
        double drawn;
        do {
          drawn = random.nextGaussian();
        } while (Math.abs(drawn) > 2);
        values[i] = mean + deviation * drawn;
      }
    }
    return of(values, shape, type);
  }

  private NDArray of(double[] values, Shape shape, DataType type) {
    LibTorchArray wide = create(shape, DataType.FLOAT64);
    wide.set(java.nio.DoubleBuffer.wrap(values));
    if (type == DataType.FLOAT64) {
      return wide;
    }
    try (wide) {
      return wide.toType(type, true);
    }
  }

  /** A 0-dimensional array of a number that does not widen the type of what it meets. */
  LibTorchArray scalar(Number value, DataType met) {
    boolean whole =
        value instanceof Long
            || value instanceof Integer
            || value instanceof Short
            || value instanceof Byte;
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      Aten.check(
          whole
              ? (int) Abi.SCALAR_LONG.invokeExact(value.longValue(), out.address())
              : (int) Abi.SCALAR_FLOAT.invokeExact(value.doubleValue(), out.address()),
          "a number as an array");
      LibTorchArray array = new LibTorchArray(this, out.get(ValueLayout.JAVA_LONG, 0));
      if (whole || met.isFloating()) {
        return array;
      }
      try (array) {
        return array.toType(DataType.FLOAT32, true);
      }
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  /** A number as a 0-dimensional array on a device, for operators that take none from the CPU. */
  LibTorchArray scalar(Number value, DataType met, Device where) {
    LibTorchArray array = scalar(value, met);
    if (!where.isGpu()) {
      return array;
    }
    try (array) {
      return (LibTorchArray) array.toDevice(where, true);
    }
  }

  private static final class SystemManager extends LibTorchManager
      implements ai.djl.ndarray.NDManager.SystemNDManager {
    SystemManager() {
      super(null, Device.cpu());
    }

    @Override
    public void attachInternal(String resourceId, AutoCloseable... resources) {}

    @Override
    public void attachUncappedInternal(String resourceId, AutoCloseable resource) {}

    @Override
    public void detachInternal(String resourceId) {}

    @Override
    public void tempAttachInternal(NDManager original, String resourceId, NDResource resource) {}

    @Override
    public void close() {}
  }

  /** DJL's adapter asks it for a copy of an array before it calls an operator we do not have. */
  private static final class NoAlternative extends LibTorchManager {
    NoAlternative() {
      super(null, Device.cpu());
    }

    @Override
    public NDArray from(NDArray array) {
      String operator =
          StackWalker.getInstance()
              .walk(
                  frames ->
                      frames
                          .map(StackWalker.StackFrame::getMethodName)
                          .dropWhile(n -> n.equals("from") || n.equals("getAlternativeArray"))
                          .findFirst()
                          .orElse("this operator"));
      throw new UnsupportedOperationException("LibTorch has no NDArray." + operator);
    }
  }
}
