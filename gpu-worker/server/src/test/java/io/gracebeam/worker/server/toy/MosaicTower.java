package io.gracebeam.worker.server.toy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.methods.model.ModelImage;
import io.gracebeam.worker.methods.model.Ops;
import io.gracebeam.worker.methods.model.VisionTower;
import io.gracebeam.worker.methods.model.Weights;
import java.util.List;

/** Two linear layers over each tile. */
final class MosaicTower implements VisionTower {
  private final MosaicConfig config;
  private final Weights weights;

  MosaicTower(MosaicConfig config, Weights weights) {
    this.config = config;
    this.weights = weights;
  }

  @Override
  public NDArray rows(NDManager manager, List<ModelImage> images) {
    int tiles = images.stream().mapToInt(ModelImage::tokens).sum();
    float[] values = new float[images.stream().mapToInt(ModelImage::size).sum()];
    int at = 0;
    for (ModelImage image : images) {
      image.values().into(values, at);
      at += image.size();
    }
    NDArray x =
        EngineArrays.of(
            manager,
            values,
            new Shape(values.length / config.tileSize(), config.tileSize()),
            weights.compute());
    NDArray seen = Ops.silu(weights.linear("eye.weight", x));
    NDArray rows = weights.linear("bridge.weight", seen);
    if (!config.deep()) {
      return rows;
    }
    int d = config.text().width();
    NDArray first = rows.get(":, :{}", d);
    return NDArrays.concat(new NDList(first, rows.get(":, {}:", d)), 0).reshape(2L * tiles, d);
  }

  @Override
  public int deepRows() {
    return config.deep() ? 1 : 0;
  }
}
