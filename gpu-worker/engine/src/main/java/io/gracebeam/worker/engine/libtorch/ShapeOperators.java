package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/** Shapes and views, reductions, products, order and choice. */
abstract class ShapeOperators extends FunctionOperators {
  private static final Aten RESHAPE = Aten.of("reshape");
  private static final Aten FLATTEN = Aten.of("flatten", "using_ints");
  private static final Aten UNSQUEEZE = Aten.of("unsqueeze");
  private static final Aten SQUEEZE = Aten.of("squeeze", "dims");
  private static final Aten PERMUTE = Aten.of("permute");
  private static final Aten EXPAND = Aten.of("expand");
  private static final Aten REPEAT = Aten.of("repeat");
  private static final Aten REPEAT_EACH = Aten.of("repeat_interleave", "self_int");
  private static final Aten FLIP = Aten.of("flip");
  private static final Aten ROT90 = Aten.of("rot90");
  private static final Aten SPLIT = Aten.of("split_with_sizes");
  private static final Aten DIAGONAL = Aten.of("diagonal");
  private static final Aten SUM = Aten.of("sum", "dim_IntList");
  private static final Aten MEAN = Aten.of("mean", "dim");
  private static final Aten PROD = Aten.of("prod");
  private static final Aten PROD_DIM = Aten.of("prod", "dim_int");
  private static final Aten AMAX = Aten.of("amax");
  private static final Aten AMIN = Aten.of("amin");
  private static final Aten ARGMAX = Aten.of("argmax");
  private static final Aten ARGMIN = Aten.of("argmin");
  private static final Aten CUMSUM = Aten.of("cumsum");
  private static final Aten CUMPROD = Aten.of("cumprod");
  private static final Aten SOFTMAX = Aten.of("softmax", "int");
  private static final Aten LOG_SOFTMAX = Aten.of("log_softmax", "int");
  private static final Aten MATMUL = Aten.of("matmul");
  private static final Aten BMM = Aten.of("bmm");
  private static final Aten GATHER = Aten.of("gather");
  private static final Aten TAKE = Aten.of("take");
  private static final Aten SCATTER = Aten.of("scatter", "src");
  private static final Aten INDEX = Aten.of("index", "Tensor");
  private static final Aten SORT = Aten.of("sort");
  private static final Aten ARGSORT = Aten.of("argsort");
  private static final Aten TOPK = Aten.of("topk");
  private static final Aten NONZERO = Aten.of("nonzero");
  private static final Aten ONE_HOT = Aten.of("one_hot");

  ShapeOperators(LibTorchManager manager, Shape shape, DataType type) {
    super(manager, shape, type);
  }

  private LibTorchManager owner() {
    return self().manager();
  }

  private int axis(int axis) {
    return axis < 0 ? axis + shape.dimension() : axis;
  }

  private long[] longs(int[] axes) {
    return Arrays.stream(axes).mapToLong(a -> a).toArray();
  }

  private long[] allAxes() {
    return IntStream.range(0, shape.dimension()).asLongStream().toArray();
  }

  @Override
  public NDArray reshape(Shape to) {
    return RESHAPE.call().tensor(self()).integers(to.getShape()).array(owner());
  }

  @Override
  public NDArray flatten() {
    return reshape(new Shape(-1));
  }

  @Override
  public NDArray flatten(int start, int end) {
    return FLATTEN.call().tensor(self()).integer(start).integer(end).array(owner());
  }

  @Override
  public NDArray expandDims(int axis) {
    return UNSQUEEZE.call().tensor(self()).integer(axis).array(owner());
  }

  @Override
  public NDArray squeeze(int[] axes) {
    return SQUEEZE.call().tensor(self()).integers(longs(axes)).array(owner());
  }

  /** All axes in reverse. */
  @Override
  public NDArray transpose() {
    int rank = shape.dimension();
    return transpose(IntStream.range(0, rank).map(i -> rank - 1 - i).toArray());
  }

  @Override
  public NDArray transpose(int... axes) {
    return PERMUTE.call().tensor(self()).integers(longs(axes)).array(owner());
  }

  @Override
  public NDArray broadcast(Shape to) {
    return EXPAND.call().tensor(self()).integers(to.getShape()).flag(false).array(owner());
  }

  @Override
  public NDArray tile(long repeats) {
    long[] each = new long[shape.dimension()];
    Arrays.fill(each, repeats);
    return tile(each);
  }

  @Override
  public NDArray tile(int axis, long repeats) {
    long[] each = new long[shape.dimension()];
    Arrays.fill(each, 1);
    each[axis(axis)] = repeats;
    return tile(each);
  }

  @Override
  public NDArray tile(long[] repeats) {
    return REPEAT.call().tensor(self()).integers(repeats).array(owner());
  }

  @Override
  public NDArray tile(Shape to) {
    return tile(times(to));
  }

  private long[] times(Shape to) {
    long[] each = new long[shape.dimension()];
    Arrays.setAll(each, i -> shape.get(i) == 0 ? 1 : (to.get(i) + shape.get(i) - 1) / shape.get(i));
    return each;
  }

  @Override
  public NDArray repeat(long repeats) {
    long[] each = new long[shape.dimension()];
    Arrays.fill(each, repeats);
    return repeat(each);
  }

  @Override
  public NDArray repeat(int axis, long repeats) {
    return REPEAT_EACH
        .call()
        .tensor(self())
        .integer(repeats)
        .optionalInteger(axis)
        .none()
        .array(owner());
  }

  @Override
  public NDArray repeat(long[] repeats) {
    NDArray out = self();
    for (int i = 0; i < repeats.length; i++) {
      NDArray next = out.repeat(i, repeats[i]);
      if (i > 0) {
        out.close();
      }
      out = next;
    }
    return out;
  }

  @Override
  public NDArray repeat(Shape to) {
    return repeat(times(to));
  }

  @Override
  public NDArray flip(int... axes) {
    return FLIP.call().tensor(self()).integers(longs(axes)).array(owner());
  }

  @Override
  public NDArray rotate90(int times, int[] axes) {
    return ROT90.call().tensor(self()).integer(times).integers(longs(axes)).array(owner());
  }

  @Override
  public NDList split(long sections, int axis) {
    long size = shape.get(axis(axis));
    if (sections < 1 || size % sections != 0) {
      throw new IllegalArgumentException(
          "axis %d of %s cannot be split into %d equal parts".formatted(axis, shape, sections));
    }
    long[] parts = new long[(int) sections];
    Arrays.fill(parts, size / sections);
    return new NDList(SPLIT.call().tensor(self()).integers(parts).integer(axis).list(owner()));
  }

  @Override
  public NDList split(long[] indices, int axis) {
    long size = shape.get(axis(axis));
    long[] parts = new long[indices.length + 1];
    long from = 0;
    for (int i = 0; i <= indices.length; i++) {
      long to = i < indices.length ? indices[i] : size;
      parts[i] = to - from;
      from = to;
    }
    return new NDList(SPLIT.call().tensor(self()).integers(parts).integer(axis).list(owner()));
  }

  @Override
  public NDArray diagonal() {
    return diagonal(0);
  }

  @Override
  public NDArray diagonal(int offset) {
    return diagonal(offset, 0, 1);
  }

  @Override
  public NDArray diagonal(int offset, int axis1, int axis2) {
    return DIAGONAL
        .call()
        .tensor(self())
        .integer(offset)
        .integer(axis1)
        .integer(axis2)
        .array(owner());
  }

  @Override
  public NDArray sum() {
    return sum(IntStream.range(0, shape.dimension()).toArray(), false);
  }

  @Override
  public NDArray sum(int[] axes, boolean keep) {
    return reduced(SUM, axes, keep);
  }

  @Override
  public NDArray mean() {
    return mean(IntStream.range(0, shape.dimension()).toArray(), false);
  }

  @Override
  public NDArray mean(int[] axes, boolean keep) {
    return reduced(MEAN, axes, keep);
  }

  private NDArray reduced(Aten operator, int[] axes, boolean keep) {
    return operator
        .call()
        .tensor(self())
        .optionalIntegers(longs(axes))
        .flag(keep)
        .none()
        .array(owner());
  }

  @Override
  public NDArray prod() {
    return PROD.call().tensor(self()).none().array(owner());
  }

  @Override
  public NDArray prod(int[] axes, boolean keep) {
    if (axes.length != 1) {
      throw new UnsupportedOperationException("LibTorch has no NDArray.prod over several axes");
    }
    return PROD_DIM.call().tensor(self()).integer(axes[0]).flag(keep).none().array(owner());
  }

  @Override
  public NDArray max() {
    return AMAX.call().tensor(self()).integers(allAxes()).flag(false).array(owner());
  }

  @Override
  public NDArray max(int[] axes, boolean keep) {
    return AMAX.call().tensor(self()).integers(longs(axes)).flag(keep).array(owner());
  }

  @Override
  public NDArray min() {
    return AMIN.call().tensor(self()).integers(allAxes()).flag(false).array(owner());
  }

  @Override
  public NDArray min(int[] axes, boolean keep) {
    return AMIN.call().tensor(self()).integers(longs(axes)).flag(keep).array(owner());
  }

  @Override
  public NDArray argMax() {
    return ARGMAX.call().tensor(self()).none().flag(false).array(owner());
  }

  @Override
  public NDArray argMax(int axis) {
    return ARGMAX.call().tensor(self()).optionalInteger(axis).flag(false).array(owner());
  }

  @Override
  public NDArray argMin() {
    return ARGMIN.call().tensor(self()).none().flag(false).array(owner());
  }

  @Override
  public NDArray argMin(int axis) {
    return ARGMIN.call().tensor(self()).optionalInteger(axis).flag(false).array(owner());
  }

  @Override
  public NDArray cumSum() {
    try (NDArray flat = flatten()) {
      return flat.cumSum(0);
    }
  }

  @Override
  public NDArray cumSum(int axis) {
    return CUMSUM.call().tensor(self()).integer(axis).none().array(owner());
  }

  @Override
  public NDArray cumProd(int axis) {
    return CUMPROD.call().tensor(self()).integer(axis).none().array(owner());
  }

  /** The norm of all values, for p = 2. */
  @Override
  public NDArray norm(boolean keep) {
    return norm(2, IntStream.range(0, shape.dimension()).toArray(), keep);
  }

  @Override
  public NDArray norm(int order, int[] axes, boolean keep) {
    if (order != 2) {
      throw new UnsupportedOperationException("LibTorch has no NDArray.norm of order " + order);
    }
    try (NDArray squares = square();
        NDArray sum = squares.sum(axes, keep)) {
      return sum.sqrt();
    }
  }

  @Override
  public NDArray softmax(int axis) {
    return SOFTMAX.call().tensor(self()).integer(axis).none().array(owner());
  }

  @Override
  public NDArray logSoftmax(int axis) {
    return LOG_SOFTMAX.call().tensor(self()).integer(axis).none().array(owner());
  }

  @Override
  public NDArray dot(NDArray other) {
    return matMul(other);
  }

  @Override
  public NDArray matMul(NDArray other) {
    return MATMUL.call().tensor(self()).tensor(LibTorchArray.of(other)).array(owner());
  }

  @Override
  public NDArray batchMatMul(NDArray other) {
    return BMM.call().tensor(self()).tensor(LibTorchArray.of(other)).array(owner());
  }

  @Override
  public NDArray gather(NDArray index, int axis) {
    return GATHER
        .call()
        .tensor(self())
        .integer(axis)
        .tensor(LibTorchArray.of(index))
        .flag(false)
        .array(owner());
  }

  @Override
  public NDArray take(ai.djl.ndarray.NDManager manager, NDArray index) {
    return TAKE.call()
        .tensor(self())
        .tensor(LibTorchArray.of(index))
        .array((LibTorchManager) manager);
  }

  /** Values at places of the flat array, which torch's own "put" sets in no certain order. */
  @Override
  public NDArray put(NDArray index, NDArray value) {
    try (NDArray flat = reshape(-1);
        NDArray places = index.reshape(-1);
        NDArray values = value.reshape(-1);
        NDArray out = flat.scatter(places, values, 0)) {
      return out.reshape(shape);
    }
  }

  @Override
  public NDArray scatter(NDArray index, NDArray value, int axis) {
    return SCATTER
        .call()
        .tensor(self())
        .integer(axis)
        .tensor(LibTorchArray.of(index))
        .tensor(LibTorchArray.of(value))
        .array(owner());
  }

  @Override
  public NDArray booleanMask(NDArray mask, int axis) {
    List<LibTorchArray> at = new ArrayList<>();
    for (int i = 0; i < axis(axis); i++) {
      at.add(null);
    }
    at.add(LibTorchArray.of(mask));
    return INDEX.call().tensor(self()).optionalArrays(at).array(owner());
  }

  @Override
  public NDArray sort() {
    return sort(-1);
  }

  @Override
  public NDArray sort(int axis) {
    Aten.Call call = SORT.call().tensor(self()).integer(axis).flag(false);
    call.run();
    LibTorchArray values = call.result(owner(), 0);
    call.result(owner(), 1).close();
    return values;
  }

  @Override
  public NDArray argSort(int axis, boolean ascending) {
    return ARGSORT.call().tensor(self()).integer(axis).flag(!ascending).array(owner());
  }

  @Override
  public NDList topK(int k, int axis, boolean largest, boolean sorted) {
    Aten.Call call = TOPK.call().tensor(self()).integer(k).integer(axis).flag(largest).flag(sorted);
    call.run();
    return new NDList(call.result(owner(), 0), call.result(owner(), 1));
  }

  @Override
  public NDArray nonzero() {
    return NONZERO.call().tensor(self()).array(owner());
  }

  @Override
  public NDArray oneHot(int depth, float on, float off, DataType type) {
    try (LibTorchArray index = self().toType(DataType.INT64, false);
        LibTorchArray ones = ONE_HOT.call().tensor(index).integer(depth).array(owner());
        LibTorchArray typed = ones.toType(type, true);
        NDArray scaled = typed.mul(on - off)) {
      return scaled.add(off);
    }
  }
}
