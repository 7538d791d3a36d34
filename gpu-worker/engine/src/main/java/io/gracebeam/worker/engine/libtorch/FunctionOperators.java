package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrayAdapter;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;

/** Functions of one array, element by element. */
abstract class FunctionOperators extends NDArrayAdapter {
  private static final Aten ABS = Aten.of("abs");
  private static final Aten ACOS = Aten.of("acos");
  private static final Aten ACOSH = Aten.of("acosh");
  private static final Aten ASIN = Aten.of("asin");
  private static final Aten ASINH = Aten.of("asinh");
  private static final Aten ATAN = Aten.of("atan");
  private static final Aten ATANH = Aten.of("atanh");
  private static final Aten CEIL = Aten.of("ceil");
  private static final Aten COS = Aten.of("cos");
  private static final Aten COSH = Aten.of("cosh");
  private static final Aten DEGREES = Aten.of("rad2deg");
  private static final Aten ERF = Aten.of("erf");
  private static final Aten ERFINV = Aten.of("erfinv");
  private static final Aten EXP = Aten.of("exp");
  private static final Aten FLOOR = Aten.of("floor");
  private static final Aten IS_INF = Aten.of("isinf");
  private static final Aten IS_NAN = Aten.of("isnan");
  private static final Aten LGAMMA = Aten.of("lgamma");
  private static final Aten LOG = Aten.of("log");
  private static final Aten LOG10 = Aten.of("log10");
  private static final Aten LOG2 = Aten.of("log2");
  private static final Aten NEG = Aten.of("neg");
  private static final Aten NOT = Aten.of("logical_not");
  private static final Aten RADIANS = Aten.of("deg2rad");
  private static final Aten ROUND = Aten.of("round");
  private static final Aten SIGN = Aten.of("sign");
  private static final Aten SIN = Aten.of("sin");
  private static final Aten SINH = Aten.of("sinh");
  private static final Aten SQRT = Aten.of("sqrt");
  private static final Aten TAN = Aten.of("tan");
  private static final Aten TANH = Aten.of("tanh");
  private static final Aten TRUNC = Aten.of("trunc");

  FunctionOperators(LibTorchManager manager, Shape shape, DataType type) {
    super(manager, LibTorchManager.none(), shape, type, NDManager.nextUid());
  }

  /** This array, as what it is. */
  final LibTorchArray self() {
    return (LibTorchArray) this;
  }

  final NDArray unary(Aten operator) {
    return operator.call().tensor(self()).array(self().manager());
  }

  @Override
  public NDArray neg() {
    return unary(NEG);
  }

  @Override
  public NDArray abs() {
    return unary(ABS);
  }

  @Override
  public NDArray sign() {
    return unary(SIGN);
  }

  @Override
  public NDArray sqrt() {
    return unary(SQRT);
  }

  @Override
  public NDArray floor() {
    return unary(FLOOR);
  }

  @Override
  public NDArray ceil() {
    return unary(CEIL);
  }

  @Override
  public NDArray round() {
    return unary(ROUND);
  }

  @Override
  public NDArray trunc() {
    return unary(TRUNC);
  }

  @Override
  public NDArray exp() {
    return unary(EXP);
  }

  @Override
  public NDArray gammaln() {
    return unary(LGAMMA);
  }

  @Override
  public NDArray log() {
    return unary(LOG);
  }

  @Override
  public NDArray log10() {
    return unary(LOG10);
  }

  @Override
  public NDArray log2() {
    return unary(LOG2);
  }

  @Override
  public NDArray sin() {
    return unary(SIN);
  }

  @Override
  public NDArray cos() {
    return unary(COS);
  }

  @Override
  public NDArray tan() {
    return unary(TAN);
  }

  @Override
  public NDArray asin() {
    return unary(ASIN);
  }

  @Override
  public NDArray acos() {
    return unary(ACOS);
  }

  @Override
  public NDArray atan() {
    return unary(ATAN);
  }

  @Override
  public NDArray sinh() {
    return unary(SINH);
  }

  @Override
  public NDArray cosh() {
    return unary(COSH);
  }

  @Override
  public NDArray tanh() {
    return unary(TANH);
  }

  @Override
  public NDArray asinh() {
    return unary(ASINH);
  }

  @Override
  public NDArray acosh() {
    return unary(ACOSH);
  }

  @Override
  public NDArray atanh() {
    return unary(ATANH);
  }

  @Override
  public NDArray erf() {
    return unary(ERF);
  }

  @Override
  public NDArray erfinv() {
    return unary(ERFINV);
  }

  @Override
  public NDArray toDegrees() {
    return unary(DEGREES);
  }

  @Override
  public NDArray toRadians() {
    return unary(RADIANS);
  }

  @Override
  public NDArray isInfinite() {
    return unary(IS_INF);
  }

  @Override
  public NDArray isNaN() {
    return unary(IS_NAN);
  }

  @Override
  public NDArray logicalNot() {
    return unary(NOT);
  }
}
