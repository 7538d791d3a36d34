package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.index.NDArrayIndexer;
import ai.djl.ndarray.index.full.NDIndexFullPick;
import ai.djl.ndarray.index.full.NDIndexFullSlice;
import ai.djl.ndarray.index.full.NDIndexFullTake;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** NDIndex by views (slices) and gathers (takes and picks). */
final class LibTorchIndexer extends NDArrayIndexer {
  private static final Aten SLICE = Aten.of("slice", "Tensor");
  private static final Aten INDEX = Aten.of("index", "Tensor");

  private final LibTorchManager manager;

  LibTorchIndexer(LibTorchManager manager) {
    this.manager = manager;
  }

  @Override
  public NDArray get(NDArray array, NDIndexFullPick pick) {
    NDArray index = pick.getIndices();
    try (NDArray wide =
        index.getShape().dimension() == array.getShape().dimension()
            ? index.toType(ai.djl.ndarray.types.DataType.INT64, true)
            : index.toType(ai.djl.ndarray.types.DataType.INT64, true).expandDims(pick.getAxis())) {
      return array.gather(wide, pick.getAxis());
    }
  }

  @Override
  public NDArray get(NDArray array, NDIndexFullTake take) {
    List<LibTorchArray> at = new ArrayList<>();
    for (int i = 0; i < take.getAxis(); i++) {
      at.add(null);
    }
    try (LibTorchArray index =
        LibTorchArray.of(take.getIndices()).toType(ai.djl.ndarray.types.DataType.INT64, true)) {
      at.add(index);
      return INDEX.call().tensor(LibTorchArray.of(array)).optionalArrays(at).array(manager);
    }
  }

  /** A view of the array's memory. */
  @Override
  public NDArray get(NDArray array, NDIndexFullSlice slice) {
    LibTorchArray out = LibTorchArray.of(array);
    for (int axis : slice.getToSqueeze()) {
      requireWithin(slice.getMin()[axis], axis, array.getShape());
    }
    for (int axis = 0; axis < slice.getMin().length; axis++) {
      long low = slice.getMin()[axis];
      long high = slice.getMax()[axis];
      long step = slice.getStep()[axis];
      if (step < 1) {
        throw new IllegalArgumentException(
            "an index has the step " + step + "; allowed: 1 or more");
      }
      if (low == 0 && high == array.getShape().get(axis) && step == 1) {
        continue;
      }
      LibTorchArray next =
          SLICE
              .call()
              .tensor(out)
              .integer(axis)
              .optionalInteger(low)
              .optionalInteger(high)
              .integer(step)
              .array(manager);
      closeUnless(out, array);
      out = next;
    }
    int[] gone = slice.getToSqueeze();
    if (gone.length > 0) {
      NDArray next = out.squeeze(Arrays.copyOf(gone, gone.length));
      closeUnless(out, array);
      return next;
    }
    return out == array ? out.reshape(out.getShape()) : out;
  }

  private static void requireWithin(long index, int axis, Shape shape) {
    if (index < 0 || index >= shape.get(axis)) {
      throw new IndexOutOfBoundsException(
          "index %d of axis %d of an array %s; allowed: 0 to %d"
              .formatted(index, axis, shape, shape.get(axis) - 1));
    }
  }

  private static void closeUnless(NDArray out, NDArray given) {
    if (out != given) {
      out.close();
    }
  }

  @Override
  public void set(NDArray array, NDIndexFullSlice slice, NDArray value) {
    try (NDArray view = get(array, slice)) {
      LibTorchArray.of(view).copyFrom(LibTorchArray.of(value));
    }
  }

  @Override
  public void set(NDArray array, NDIndexFullSlice slice, Number value) {
    try (NDArray view = get(array, slice)) {
      LibTorchArray.of(view).fill(value.doubleValue());
    }
  }
}
