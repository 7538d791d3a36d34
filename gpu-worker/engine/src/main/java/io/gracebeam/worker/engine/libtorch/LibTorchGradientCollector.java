package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.NDArray;
import ai.djl.training.GradientCollector;
import java.lang.ref.WeakReference;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Backward passes. Any number may be open at once, on any threads: what is recorded belongs to the
 * arrays. Gradients add up in the leaves until they are zeroed.
 */
final class LibTorchGradientCollector implements GradientCollector {
  private static final Aten BACKWARD = Aten.of("_backward");
  private static final Aten ONES = Aten.of("ones_like");
  private static final Map<String, WeakReference<LibTorchArray>> LEAVES = new ConcurrentHashMap<>();

  /** Remembers an array that wants gradients. */
  static void register(LibTorchArray leaf) {
    LEAVES.put(leaf.getUid(), new WeakReference<>(leaf));
  }

  static void forget(LibTorchArray leaf) {
    LEAVES.remove(leaf.getUid());
  }

  /** Adds d(sum of target) / d(leaf) to the gradient of each leaf. */
  @Override
  public void backward(NDArray target) {
    LibTorchArray root = LibTorchArray.of(target);
    LibTorchManager manager = root.manager();
    try (LibTorchArray seed =
        ONES.call().tensor(root).none().none().none().none().none().array(manager)) {
      BACKWARD.call().tensor(root).arrays(List.of()).optional(seed).none().flag(false).run();
    }
  }

  /** Zeroes the gradients of all arrays of this engine that want one. */
  @Override
  public void zeroGradients() {
    LEAVES
        .values()
        .removeIf(
            reference -> {
              LibTorchArray leaf = reference.get();
              if (leaf != null && !leaf.isReleased() && leaf.hasGradient()) {
                leaf.zeroGradient();
              }
              return leaf == null || leaf.isReleased();
            });
  }

  @Override
  public void close() {}
}
