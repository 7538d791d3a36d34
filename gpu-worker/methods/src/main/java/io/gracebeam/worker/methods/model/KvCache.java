package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;

/** Keys and values [B, KV, T, d] of every decoder block so far. */
public final class KvCache implements AutoCloseable {
  private final NDManager manager;
  private final NDArray[] keys;
  private final NDArray[] values;

  KvCache(NDManager manager, int layers) {
    this.manager = manager.newSubManager();
    this.keys = new NDArray[layers];
    this.values = new NDArray[layers];
  }

  /** Keys of a block with the fresh ones appended, [B, KV, T, d]. */
  public NDArray appendKeys(int layer, NDArray fresh) {
    return append(keys, layer, fresh);
  }

  /** Values of a block with the fresh ones appended, [B, KV, T, d]. */
  public NDArray appendValues(int layer, NDArray fresh) {
    return append(values, layer, fresh);
  }

  private NDArray append(NDArray[] store, int layer, NDArray fresh) {
    NDArray joined =
        store[layer] == null
            ? fresh.duplicate()
            : NDArrays.concat(new NDList(store[layer], fresh), 2);
    NDScope.unregister(joined);
    joined.attach(manager);
    if (store[layer] != null) {
      store[layer].close();
    }
    store[layer] = joined;
    return joined;
  }

  @Override
  public void close() {
    manager.close();
  }
}
