package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.index.NDArrayIndexer;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.ndarray.types.SparseFormat;
import java.util.ArrayList;
import java.util.List;

/** What DJL's blocks and optimizers call. */
final class LibTorchArrayEx extends MissingOperators {
  private static final Aten RELU = Aten.of("relu");
  private static final Aten SIGMOID = Aten.of("sigmoid");
  private static final Aten SILU = Aten.of("silu");
  private static final Aten TANH = Aten.of("tanh");
  private static final Aten GELU = Aten.of("gelu");
  private static final Aten SELU = Aten.of("selu");
  private static final Aten MISH = Aten.of("mish");
  private static final Aten LOG_ADD_EXP = Aten.of("logaddexp");
  private static final Aten PRELU = Aten.of("prelu");
  private static final Aten LINEAR = Aten.of("linear");
  private static final Aten EMBEDDING = Aten.of("embedding");
  private static final Aten LAYER_NORM = Aten.of("layer_norm");
  private static final Aten BATCH_NORM = Aten.of("batch_norm");
  private static final Aten CONVOLUTION = Aten.of("convolution");
  private static final Aten WHERE = Aten.of("where", "self");
  private static final Aten STACK = Aten.of("stack");
  private static final Aten CAT = Aten.of("cat");

  private final LibTorchArray array;

  LibTorchArrayEx(LibTorchArray array) {
    this.array = array;
  }

  private LibTorchManager owner() {
    return array.manager();
  }

  private NDArray unary(Aten operator) {
    return operator.call().tensor(array).array(owner());
  }

  private static LibTorchArray own(NDArray other) {
    return other == null ? null : LibTorchArray.of(other);
  }

  @Override
  public NDArray rdivi(NDArray b) {
    return replaced(b.div(array));
  }

  @Override
  public NDArray rmodi(NDArray b) {
    return replaced(b.mod(array));
  }

  @Override
  public NDArray rpowi(Number n) {
    try (LibTorchArray base = owner().scalar(n, array.getDataType())) {
      return replaced(base.pow(array));
    }
  }

  private NDArray replaced(NDArray result) {
    try (result) {
      array.copyFrom(LibTorchArray.of(result));
    }
    return array;
  }

  @Override
  public NDArray relu() {
    return unary(RELU);
  }

  @Override
  public NDArray sigmoid() {
    return unary(SIGMOID);
  }

  @Override
  public NDArray tanh() {
    return unary(TANH);
  }

  /** log(1 + exp(x)), without overflow. */
  @Override
  public NDArray softPlus() {
    try (LibTorchArray zero = owner().scalar(0.0, array.getDataType(), array.getDevice())) {
      return LOG_ADD_EXP.call().tensor(array).tensor(zero).array(owner());
    }
  }

  @Override
  public NDArray softSign() {
    try (NDArray magnitude = array.abs();
        NDArray below = magnitude.add(1)) {
      return array.div(below);
    }
  }

  @Override
  public NDArray leakyRelu(float alpha) {
    try (NDArray scaled = array.mul(alpha);
        NDArray positive = array.gt(0)) {
      return WHERE.call().tensor(own(positive)).tensor(array).tensor(own(scaled)).array(owner());
    }
  }

  @Override
  public NDArray elu(float alpha) {
    // Not minimum, which gives each of two equal numbers half of the gradient.
    try (NDArray negative = array.clip(Float.NEGATIVE_INFINITY, 0f);
        NDArray grown = negative.exp();
        NDArray less = grown.sub(1);
        NDArray scaled = less.mul(alpha);
        NDArray positive = array.gt(0)) {
      return WHERE.call().tensor(own(positive)).tensor(array).tensor(own(scaled)).array(owner());
    }
  }

  @Override
  public NDArray selu() {
    return unary(SELU);
  }

  @Override
  public NDArray mish() {
    return unary(MISH);
  }

  /** With the error function, not the tanh approximation. */
  @Override
  public NDArray gelu() {
    return GELU.call().tensor(array).text("none").array(owner());
  }

  @Override
  public NDArray swish(float beta) {
    if (beta == 1) {
      return unary(SILU);
    }
    try (NDArray scaled = array.mul(beta);
        NDArray gate = scaled.getNDArrayInternal().sigmoid()) {
      return array.mul(gate);
    }
  }

  @Override
  public NDList linear(NDArray input, NDArray weight, NDArray bias) {
    if (bias != null && OwnProducts.installed()) {
      // With a bias libtorch takes another operator, whose numbers the C interface cannot pass.
      try (NDArray product = linear(input, weight, null).singletonOrThrow()) {
        return new NDList(product.add(bias));
      }
    }
    return new NDList(
        LINEAR.call().tensor(own(input)).tensor(own(weight)).optional(own(bias)).array(owner()));
  }

  /** Rows of the table; indexes of any whole type. */
  @Override
  public NDList embedding(NDArray input, NDArray weight, SparseFormat sparse) {
    if (sparse != null && sparse != SparseFormat.DENSE) {
      throw missing("embedding with sparse gradients");
    }
    try (LibTorchArray index = own(input).toType(DataType.INT64, false)) {
      return new NDList(
          EMBEDDING
              .call()
              .tensor(own(weight))
              .tensor(index)
              .integer(-1)
              .flag(false)
              .flag(false)
              .array(owner()));
    }
  }

  @Override
  public NDList prelu(NDArray input, NDArray alpha) {
    return new NDList(PRELU.call().tensor(own(input)).tensor(own(alpha)).array(owner()));
  }

  /** Drawn in Java as all random numbers are, so that a seed says which are dropped. */
  @Override
  public NDList dropout(NDArray input, float rate, boolean training) {
    if (!(rate >= 0 && rate <= 1)) {
      throw new IllegalArgumentException("dropout of " + rate + "; allowed: 0 to 1");
    }
    if (!training || rate == 0) {
      return new NDList(input.mul(1));
    }
    try (NDArray drawn = owner().randomUniform(0, 1, input.getShape(), DataType.FLOAT32);
        NDArray kept = drawn.gte(rate);
        NDArray ones = kept.toType(input.getDataType(), true);
        NDArray mask = ones.mul(rate == 1 ? 0 : 1 / (1 - rate))) {
      return new NDList(input.mul(mask));
    }
  }

  @Override
  public NDList layerNorm(NDArray input, Shape normalized, NDArray gamma, NDArray beta, float eps) {
    return new NDList(
        LAYER_NORM
            .call()
            .tensor(own(input))
            .integers(normalized.getShape())
            .optional(own(gamma))
            .optional(own(beta))
            .real(eps)
            .flag(false)
            .array(owner()));
  }

  /** Channels on axis 1 only. */
  @Override
  public NDList batchNorm(
      NDArray input,
      NDArray runningMean,
      NDArray runningVariance,
      NDArray gamma,
      NDArray beta,
      int axis,
      float momentum,
      float eps,
      boolean training) {
    if (axis != 1 && axis != -1) {
      throw missing("batchNorm over axis " + axis);
    }
    return new NDList(
        BATCH_NORM
            .call()
            .tensor(own(input))
            .optional(own(gamma))
            .optional(own(beta))
            .optional(own(runningMean))
            .optional(own(runningVariance))
            .flag(training)
            .real(1 - momentum)
            .real(eps)
            .flag(false)
            .array(owner()));
  }

  @Override
  public NDList convolution(
      NDArray input,
      NDArray weight,
      NDArray bias,
      Shape stride,
      Shape padding,
      Shape dilation,
      int groups) {
    return new NDList(
        convolved(
            input,
            weight,
            bias,
            stride,
            padding,
            dilation,
            false,
            new Shape(zeros(stride)),
            groups));
  }

  @Override
  public NDList deconvolution(
      NDArray input,
      NDArray weight,
      NDArray bias,
      Shape stride,
      Shape padding,
      Shape outPadding,
      Shape dilation,
      int groups) {
    return new NDList(
        convolved(input, weight, bias, stride, padding, dilation, true, outPadding, groups));
  }

  private NDArray convolved(
      NDArray input,
      NDArray weight,
      NDArray bias,
      Shape stride,
      Shape padding,
      Shape dilation,
      boolean transposed,
      Shape outPadding,
      int groups) {
    return CONVOLUTION
        .call()
        .tensor(own(input))
        .tensor(own(weight))
        .optional(own(bias))
        .integers(stride.getShape())
        .integers(padding.getShape())
        .integers(dilation.getShape())
        .flag(transposed)
        .integers(outPadding.getShape())
        .integer(groups)
        .array(owner());
  }

  private static long[] zeros(Shape like) {
    return new long[like.dimension()];
  }

  @Override
  public NDArrayIndexer getIndexer(ai.djl.ndarray.NDManager manager) {
    return new LibTorchIndexer((LibTorchManager) manager);
  }

  /** This array where the condition holds, the other elsewhere. */
  @Override
  public NDArray where(NDArray condition, NDArray other) {
    try (LibTorchArray chosen = own(condition).toType(DataType.BOOLEAN, false)) {
      return WHERE.call().tensor(chosen).tensor(array).tensor(own(other)).array(owner());
    }
  }

  @Override
  public NDArray stack(NDList others, int axis) {
    return STACK.call().arrays(withThis(others)).integer(axis).array(owner());
  }

  @Override
  public NDArray concat(NDList others, int axis) {
    return CAT.call().arrays(withThis(others)).integer(axis).array(owner());
  }

  private List<LibTorchArray> withThis(NDList others) {
    List<LibTorchArray> out = new ArrayList<>();
    out.add(array);
    others.forEach(other -> out.add(own(other)));
    return out;
  }

  /**
   * w -= rate (clipped, scaled gradient + decay w) with momentum m = momentum m - rate (..). As in
   * DJL's PyTorch engine, an update zeroes the weight's gradient.
   */
  @Override
  public void sgdUpdate(
      NDList inputs,
      NDList weights,
      float rate,
      float decay,
      float scale,
      float clip,
      float momentum,
      boolean lazy) {
    try (NDArray weight = inputs.get(0).stopGradient();
        NDArray gradient = prepared(inputs.get(1), weight, scale, clip, decay);
        NDArray step = gradient.mul(rate)) {
      if (momentum == 0) {
        weight.subi(step);
      } else {
        weights.get(0).muli(momentum).subi(step);
        weight.addi(weights.get(0));
      }
    }
    zeroGradient(own(inputs.get(0)));
  }

  private static void zeroGradient(LibTorchArray weight) {
    if (weight.hasGradient()) {
      weight.zeroGradient();
    }
  }

  private static NDArray prepared(
      NDArray gradient, NDArray weight, float scale, float clip, float decay) {
    NDArray out = gradient.mul(scale);
    if (clip > 0) {
      out = replace(out, out.clip(-clip, clip));
    }
    if (decay != 0) {
      try (NDArray pull = weight.mul(decay)) {
        out = replace(out, out.add(pull));
      }
    }
    return out;
  }

  private static NDArray replace(NDArray old, NDArray fresh) {
    old.close();
    return fresh;
  }

  /** Adam (2015); with adamw, decoupled weight decay (2019). DJL corrects the rate for bias. */
  @Override
  public void adamUpdate(
      NDList inputs,
      NDList weights,
      float rate,
      float rateCorrection,
      float decay,
      float scale,
      float clip,
      float beta1,
      float beta2,
      float eps,
      boolean lazy,
      boolean adamw) {
    NDArray mean = inputs.get(2);
    NDArray variance = inputs.get(3);
    try (NDArray weight = inputs.get(0).stopGradient();
        NDArray gradient = prepared(inputs.get(1), weight, scale, clip, adamw ? 0 : decay);
        NDArray own = gradient.mul(1 - beta1);
        NDArray squares = gradient.square();
        NDArray ownSquares = squares.mul(1 - beta2)) {
      if (adamw) {
        weight.muli(1 - rate * decay);
      }
      mean.muli(beta1).addi(own);
      variance.muli(beta2).addi(ownSquares);
      try (NDArray root = variance.sqrt();
          NDArray below = root.add(eps);
          NDArray direction = mean.div(below);
          NDArray step = direction.mul(rateCorrection)) {
        weight.subi(step);
      }
    }
    zeroGradient(own(inputs.get(0)));
  }

  @Override
  public NDArray getArray() {
    return array;
  }
}
