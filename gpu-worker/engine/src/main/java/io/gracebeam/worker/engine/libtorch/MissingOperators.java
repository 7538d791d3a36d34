package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.internal.NDArrayEx;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.recurrent.RNN;
import java.util.List;

/**
 * Operators of DJL's NDArrayEx that this engine lacks: pooling, recurrence, images, boxes, and the
 * optimizers that nobody here uses. Each throws with its name.
 */
abstract class MissingOperators implements NDArrayEx {
  static UnsupportedOperationException missing(String operator) {
    return new UnsupportedOperationException("LibTorch has no NDArrayEx." + operator);
  }

  @Override
  public NDArray maxPool(Shape a, Shape b, Shape c, boolean d) {
    throw missing("maxPool");
  }

  @Override
  public NDArray globalMaxPool() {
    throw missing("globalMaxPool");
  }

  @Override
  public NDArray avgPool(Shape a, Shape b, Shape c, boolean d, boolean e) {
    throw missing("avgPool");
  }

  @Override
  public NDArray globalAvgPool() {
    throw missing("globalAvgPool");
  }

  @Override
  public NDArray lpPool(float a, Shape b, Shape c, Shape d, boolean e) {
    throw missing("lpPool");
  }

  @Override
  public NDArray globalLpPool(float a) {
    throw missing("globalLpPool");
  }

  @Override
  public void adadeltaUpdate(NDList a, NDList b, float c, float d, float e, float f, float g) {
    throw missing("adadeltaUpdate");
  }

  @Override
  public void adagradUpdate(NDList a, NDList b, float c, float d, float e, float f, float g) {
    throw missing("adagradUpdate");
  }

  @Override
  public void nagUpdate(NDList a, NDList b, float c, float d, float e, float f, float g) {
    throw missing("nagUpdate");
  }

  @Override
  public void rmspropUpdate(
      NDList a,
      NDList b,
      float c,
      float d,
      float e,
      float f,
      float g,
      float h,
      float i,
      boolean j) {
    throw missing("rmspropUpdate");
  }

  @Override
  public NDList rnn(
      NDArray a,
      NDArray b,
      NDList c,
      boolean d,
      int e,
      RNN.Activation f,
      double g,
      boolean h,
      boolean i,
      boolean j) {
    throw missing("rnn");
  }

  @Override
  public NDList gru(
      NDArray a, NDArray b, NDList c, boolean d, int e, double f, boolean g, boolean h, boolean i) {
    throw missing("gru");
  }

  @Override
  public NDList lstm(
      NDArray a, NDList b, NDList c, boolean d, int e, double f, boolean g, boolean h, boolean i) {
    throw missing("lstm");
  }

  @Override
  public NDArray interpolation(long[] a, int b, boolean c) {
    throw missing("interpolation");
  }

  @Override
  public NDArray resize(int a, int b, int c) {
    throw missing("resize");
  }

  @Override
  public NDArray randomFlipLeftRight() {
    throw missing("randomFlipLeftRight");
  }

  @Override
  public NDArray randomFlipTopBottom() {
    throw missing("randomFlipTopBottom");
  }

  @Override
  public NDArray randomBrightness(float a) {
    throw missing("randomBrightness");
  }

  @Override
  public NDArray randomHue(float a) {
    throw missing("randomHue");
  }

  @Override
  public NDArray randomColorJitter(float a, float b, float c, float d) {
    throw missing("randomColorJitter");
  }

  @Override
  public NDList multiBoxTarget(NDList a, float b, float c, float d, float e, int f) {
    throw missing("multiBoxTarget");
  }

  @Override
  public NDList multiBoxPrior(
      List<Float> a, List<Float> b, List<Float> c, List<Float> d, boolean e) {
    throw missing("multiBoxPrior");
  }

  @Override
  public NDList multiBoxDetection(NDList a, boolean b, float c, int d, float e, boolean f, int g) {
    throw missing("multiBoxDetection");
  }
}
