package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Activation;
import io.gracebeam.worker.engine.EngineArrays;
import java.util.function.Function;

/** CLIP's vision transformer up to the chosen layer, and LLaVA's two-layer projector. */
final class VisionTower {
  static final String TOWER = "vision_tower.vision_model.";
  private static final String CLASS = "embeddings.class_embedding";

  private final LlavaConfig config;
  private final Function<String, NDArray> parameter;
  private final Dense dense;

  /** A linear layer by its name, with its bias or without. */
  @FunctionalInterface
  interface Dense {
    NDArray apply(String name, NDArray x, boolean bias);
  }

  VisionTower(LlavaConfig config, Function<String, NDArray> parameter, Dense dense) {
    this.config = config;
    this.parameter = parameter;
    this.dense = dense;
  }

  /** pixels [B, 3, H, W] -> states of the feature layer [B, n, dv]. */
  NDArray features(NDArray pixels) {
    NDArray x = patches(pixels);
    for (int i = 0; i < config.visionBlocks(); i++) {
      NDArray in = x;
      int layer = i;
      x = Ops.scoped(() -> block(in, layer));
      in.close();
    }
    return selected(x);
  }

  /** Input of the first block: [B, n + 1, dv], the class token first. */
  NDArray patches(NDArray pixels) {
    return Ops.scoped(() -> embed(EngineArrays.cast(pixels, p(CLASS).getDataType())));
  }

  /** Of the last block's output what the projector takes. */
  NDArray selected(NDArray states) {
    return config.dropClass() ? states.get(":, 1:") : states;
  }

  /** States of the feature layer [B, n, dv] -> decoder inputs [B, n, d]. */
  NDArray project(NDArray features) {
    String name = "multi_modal_projector.linear_";
    NDArray hidden = Activation.gelu(dense(features, name + 1, config.projectorBias()));
    return dense(hidden, name + 2, config.projectorBias());
  }

  private NDArray embed(NDArray pixels) {
    LlavaConfig.Vision v = config.vision();
    long batch = pixels.getShape().get(0);
    long side = v.imageSize() / v.patchSize();
    long used = side * v.patchSize();
    NDArray image = used == v.imageSize() ? pixels : pixels.get(":, :, :{}, :{}", used, used);
    NDArray patches =
        image
            .reshape(batch, 3, side, v.patchSize(), side, v.patchSize())
            .transpose(0, 2, 4, 1, 3, 5)
            .reshape(batch, side * side, 3L * v.patchSize() * v.patchSize());
    NDArray weight =
        p("embeddings.patch_embedding.weight")
            .reshape(v.width(), 3L * v.patchSize() * v.patchSize());
    NDArray cls = p(CLASS).reshape(1, 1, v.width()).broadcast(new Shape(batch, 1, v.width()));
    NDArray x =
        NDArrays.concat(new NDList(cls, Ops.linear(patches, weight, null)), 1)
            .add(p("embeddings.position_embedding.weight"));
    return norm(x, "pre_layrnorm");
  }

  private NDArray block(NDArray x, int layer) {
    String name = "encoder.layers." + layer + ".";
    long heads = config.vision().heads();
    NDArray normed = norm(x, name + "layer_norm1");
    NDArray q = Ops.heads(dense(normed, TOWER + name + "self_attn.q_proj", true), heads);
    NDArray k = Ops.heads(dense(normed, TOWER + name + "self_attn.k_proj", true), heads);
    NDArray v = Ops.heads(dense(normed, TOWER + name + "self_attn.v_proj", true), heads);
    NDArray mixed = Ops.attention(q, k, v, null);
    NDArray y = x.add(dense(mixed, TOWER + name + "self_attn.out_proj", true));
    NDArray inner =
        Ops.quickGelu(dense(norm(y, name + "layer_norm2"), TOWER + name + "mlp.fc1", true));
    return y.add(dense(inner, TOWER + name + "mlp.fc2", true));
  }

  private NDArray dense(NDArray x, String name, boolean bias) {
    return dense.apply(name, x, bias);
  }

  private NDArray norm(NDArray x, String name) {
    return Ops.layerNorm(x, p(name + ".weight"), p(name + ".bias"), config.vision().eps());
  }

  private NDArray p(String name) {
    return parameter.apply(TOWER + name);
  }
}
