package io.gracebeam.worker.methods.family.llava;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Activation;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.kernels.TrainingBlocks.Kind;
import io.gracebeam.worker.kernels.TrainingBlocks.Parameter;
import io.gracebeam.worker.kernels.TrainingBlocks.Sizes;
import io.gracebeam.worker.methods.model.ModelImage;
import io.gracebeam.worker.methods.model.NativeBlock;
import io.gracebeam.worker.methods.model.Ops;
import io.gracebeam.worker.methods.model.VisionTower;
import io.gracebeam.worker.methods.model.Weights;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** CLIP's vision transformer up to the chosen layer, and LLaVA's projector of two layers. */
final class ClipTower implements VisionTower, VisionTower.PatchFeatures, VisionTower.NativeVision {
  private static final String TOWER = LlavaParameters.TOWER;
  private static final String CLASS = "embeddings.class_embedding";

  private final LlavaConfig config;
  private final Weights weights;

  ClipTower(LlavaConfig config, Weights weights) {
    this.config = config;
    this.weights = weights;
  }

  @Override
  public NDArray rows(NDManager manager, List<ModelImage> images) {
    return project(features(manager, images));
  }

  @Override
  public Optional<NativeVision> nativeVision() {
    return Optional.of(this);
  }

  @Override
  public Optional<PatchFeatures> patchFeatures() {
    return Optional.of(this);
  }

  @Override
  public int patches() {
    return config.vision().patches();
  }

  @Override
  public int width() {
    return config.vision().width();
  }

  /** States of the feature layer, [B, n, dv]. */
  @Override
  public NDArray features(NDManager manager, List<ModelImage> images) {
    NDArray x = input(manager, images);
    for (int i = 0; i < blocks(); i++) {
      NDArray in = x;
      int layer = i;
      x = Ops.scoped(() -> block(in, layer));
      in.close();
    }
    return selected(x);
  }

  /** Input of the first block: [B, n + 1, dv], the class token first. */
  @Override
  public NDArray input(NDManager manager, List<ModelImage> images) {
    return Ops.scoped(
        () -> embed(EngineArrays.cast(pixels(manager, images), p(CLASS).getDataType())));
  }

  @Override
  public int blocks() {
    return config.visionBlocks();
  }

  @Override
  public NativeBlock block(int number) {
    LlavaConfig.Vision v = config.vision();
    String name = TOWER + "encoder.layers." + number + ".";
    Map<Parameter, String> names = new EnumMap<>(Parameter.class);
    names.put(Parameter.NORM1, name + "layer_norm1.weight");
    names.put(Parameter.NORM1_BIAS, name + "layer_norm1.bias");
    names.put(Parameter.QUERY, name + "self_attn.q_proj.weight");
    names.put(Parameter.QUERY_BIAS, name + "self_attn.q_proj.bias");
    names.put(Parameter.KEY, name + "self_attn.k_proj.weight");
    names.put(Parameter.KEY_BIAS, name + "self_attn.k_proj.bias");
    names.put(Parameter.VALUE, name + "self_attn.v_proj.weight");
    names.put(Parameter.VALUE_BIAS, name + "self_attn.v_proj.bias");
    names.put(Parameter.OUT, name + "self_attn.out_proj.weight");
    names.put(Parameter.OUT_BIAS, name + "self_attn.out_proj.bias");
    names.put(Parameter.NORM2, name + "layer_norm2.weight");
    names.put(Parameter.NORM2_BIAS, name + "layer_norm2.bias");
    names.put(Parameter.UP, name + "mlp.fc1.weight");
    names.put(Parameter.UP_BIAS, name + "mlp.fc1.bias");
    names.put(Parameter.DOWN, name + "mlp.fc2.weight");
    names.put(Parameter.DOWN_BIAS, name + "mlp.fc2.bias");
    int headDim = v.width() / v.heads();
    Sizes sizes =
        new Sizes(Kind.CLIP, v.width(), v.heads(), v.heads(), headDim, v.mlp(), (float) v.eps());
    return new NativeBlock(sizes, names);
  }

  @Override
  public NDArray selected(NDArray last) {
    return config.dropClass() ? last.get(":, 1:") : last;
  }

  @Override
  public NDArray project(NDArray features) {
    NDArray hidden = Activation.gelu(projector(1, features));
    return projector(2, hidden).reshape(-1, config.text().width());
  }

  private NDArray projector(int number, NDArray x) {
    String name = LlavaParameters.PROJECTOR + number;
    return weights.linear(name + ".weight", config.projectorBias() ? name + ".bias" : null, x);
  }

  /** Pixels [B, 3, H, W]. */
  private NDArray pixels(NDManager manager, List<ModelImage> images) {
    int size = config.vision().imageSize();
    float[] all = new float[images.size() * 3 * size * size];
    for (int i = 0; i < images.size(); i++) {
      ModelImage image = images.get(i);
      if (image.size() != 3 * size * size) {
        throw GraceException.data(
            "an image has %d values; allowed: 3 x %d x %d", image.size(), size, size);
      }
      image.values().into(all, i * 3 * size * size);
    }
    return EngineArrays.of(manager, all, new Shape(images.size(), 3, size, size));
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
    NDArray q = Ops.heads(dense(normed, name + "self_attn.q_proj"), heads);
    NDArray k = Ops.heads(dense(normed, name + "self_attn.k_proj"), heads);
    NDArray v = Ops.heads(dense(normed, name + "self_attn.v_proj"), heads);
    NDArray mixed = Ops.attention(q, k, v, null);
    NDArray y = x.add(dense(mixed, name + "self_attn.out_proj"));
    NDArray inner = Ops.quickGelu(dense(norm(y, name + "layer_norm2"), name + "mlp.fc1"));
    return y.add(dense(inner, name + "mlp.fc2"));
  }

  private NDArray dense(NDArray x, String name) {
    return weights.linear(TOWER + name + ".weight", TOWER + name + ".bias", x);
  }

  private NDArray norm(NDArray x, String name) {
    return Ops.layerNorm(x, p(name + ".weight"), p(name + ".bias"), config.vision().eps());
  }

  private NDArray p(String name) {
    return weights.parameter(TOWER + name);
  }
}
