package io.gracebeam.worker.engine.libtorch;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;

/**
 * Element by element: arithmetic, functions, comparisons. An operator that is missing throws
 * UnsupportedOperationException with its name. A number among the operands becomes a 0-dimensional
 * tensor, since the dispatcher takes no Scalar; it does not widen the other operand's type.
 */
abstract class ArrayOperators extends ShapeOperators {
  private static final Aten MUL = Aten.of("mul", "Tensor");
  private static final Aten DIV = Aten.of("div", "Tensor");
  private static final Aten FLOOR_MOD = Aten.of("fmod", "Tensor");
  private static final Aten POW = Aten.of("pow", "Tensor_Tensor");
  private static final Aten MAXIMUM = Aten.of("maximum");
  private static final Aten MINIMUM = Aten.of("minimum");
  private static final Aten ATAN2 = Aten.of("atan2");
  private static final Aten EQ = Aten.of("eq", "Tensor");
  private static final Aten NE = Aten.of("ne", "Tensor");
  private static final Aten GT = Aten.of("gt", "Tensor");
  private static final Aten GE = Aten.of("ge", "Tensor");
  private static final Aten LT = Aten.of("lt", "Tensor");
  private static final Aten LE = Aten.of("le", "Tensor");
  private static final Aten EQUAL = Aten.of("equal");
  private static final Aten AND = Aten.of("logical_and");
  private static final Aten OR = Aten.of("logical_or");
  private static final Aten XOR = Aten.of("logical_xor");
  private static final Aten XLOGY = Aten.of("xlogy", "Tensor");
  private static final Aten CLAMP = Aten.of("clamp", "Tensor");

  ArrayOperators(LibTorchManager manager, Shape shape, DataType type) {
    super(manager, shape, type);
  }

  private NDArray binary(Aten operator, NDArray other) {
    return operator.call().tensor(self()).tensor(LibTorchArray.of(other)).array(self().manager());
  }

  private NDArray binary(Aten operator, Number n) {
    try (LibTorchArray scalar = self().manager().scalar(n, dataType)) {
      return binary(operator, scalar);
    }
  }

  /** Overwrites this array's values with those of a fresh result, which is closed. */
  private NDArray inPlace(NDArray result) {
    try (result) {
      self().copyFrom(LibTorchArray.of(result));
    }
    return this;
  }

  @Override
  public NDArray add(NDArray other) {
    return sum(self(), LibTorchArray.of(other), -1);
  }

  @Override
  public NDArray add(Number n) {
    try (LibTorchArray scalar = self().manager().scalar(n, dataType)) {
      return sum(self(), scalar, -1);
    }
  }

  @Override
  public NDArray sub(NDArray other) {
    return sum(self(), LibTorchArray.of(other), 1);
  }

  @Override
  public NDArray sub(Number n) {
    try (LibTorchArray scalar = self().manager().scalar(n, dataType)) {
      return sum(self(), scalar, 1);
    }
  }

  /**
   * a - alpha b. The one differentiable sum among the C functions takes a floating factor, which
   * torch refuses for whole numbers: those are exact in float64 below 2^53, and beyond that
   * refused.
   */
  static LibTorchArray sum(LibTorchArray a, LibTorchArray b, int alpha) {
    if (!whole(a.getDataType()) || !whole(b.getDataType())) {
      return subtract(a, b, alpha);
    }
    DataType type = a.isScalar() && !b.isScalar() ? b.getDataType() : a.getDataType();
    try (LibTorchArray wideA = a.toType(DataType.FLOAT64, true);
        LibTorchArray wideB = b.toType(DataType.FLOAT64, true);
        LibTorchArray wide = subtract(wideA, wideB, alpha)) {
      return wide.toType(type, true);
    }
  }

  private static boolean whole(DataType type) {
    return type.isInteger() || type == DataType.BOOLEAN;
  }

  private static LibTorchArray subtract(LibTorchArray a, LibTorchArray b, double alpha) {
    try (java.lang.foreign.Arena arena = java.lang.foreign.Arena.ofConfined()) {
      var out = arena.allocate(java.lang.foreign.ValueLayout.JAVA_LONG);
      int failed = (int) Abi.SUBTRACT.invokeExact(a.handle(), b.handle(), alpha, out.address());
      Aten.check(failed, alpha < 0 ? "add" : "sub", a, b);
      return new LibTorchArray(a.manager(), out.get(java.lang.foreign.ValueLayout.JAVA_LONG, 0));
    } catch (Throwable e) {
      throw Abi.unexpected(e);
    }
  }

  @Override
  public NDArray mul(NDArray other) {
    return binary(MUL, other);
  }

  @Override
  public NDArray mul(Number n) {
    return binary(MUL, n);
  }

  @Override
  public NDArray div(NDArray other) {
    return binary(DIV, other);
  }

  @Override
  public NDArray div(Number n) {
    return binary(DIV, n);
  }

  @Override
  public NDArray mod(NDArray other) {
    return binary(FLOOR_MOD, other);
  }

  @Override
  public NDArray mod(Number n) {
    return binary(FLOOR_MOD, n);
  }

  @Override
  public NDArray pow(NDArray other) {
    return binary(POW, other);
  }

  @Override
  public NDArray pow(Number n) {
    try (LibTorchArray exponent = self().manager().scalar(n, dataType, self().getDevice())) {
      return binary(POW, exponent);
    }
  }

  @Override
  public NDArray maximum(NDArray other) {
    return binary(MAXIMUM, other);
  }

  @Override
  public NDArray maximum(Number n) {
    return binary(MAXIMUM, n);
  }

  @Override
  public NDArray minimum(NDArray other) {
    return binary(MINIMUM, other);
  }

  @Override
  public NDArray minimum(Number n) {
    return binary(MINIMUM, n);
  }

  @Override
  public NDArray eq(NDArray other) {
    return binary(EQ, other);
  }

  @Override
  public NDArray eq(Number n) {
    return binary(EQ, n);
  }

  @Override
  public NDArray neq(NDArray other) {
    return binary(NE, other);
  }

  @Override
  public NDArray neq(Number n) {
    return binary(NE, n);
  }

  @Override
  public NDArray gt(NDArray other) {
    return binary(GT, other);
  }

  @Override
  public NDArray gt(Number n) {
    return binary(GT, n);
  }

  @Override
  public NDArray gte(NDArray other) {
    return binary(GE, other);
  }

  @Override
  public NDArray gte(Number n) {
    return binary(GE, n);
  }

  @Override
  public NDArray lt(NDArray other) {
    return binary(LT, other);
  }

  @Override
  public NDArray lt(Number n) {
    return binary(LT, n);
  }

  @Override
  public NDArray lte(NDArray other) {
    return binary(LE, other);
  }

  @Override
  public NDArray lte(Number n) {
    return binary(LE, n);
  }

  @Override
  public NDArray atan2(NDArray other) {
    return binary(ATAN2, other);
  }

  @Override
  public NDArray logicalAnd(NDArray other) {
    return binary(AND, other);
  }

  @Override
  public NDArray logicalOr(NDArray other) {
    return binary(OR, other);
  }

  @Override
  public NDArray logicalXor(NDArray other) {
    return binary(XOR, other);
  }

  @Override
  public NDArray xlogy(NDArray other) {
    return binary(XLOGY, other);
  }

  @Override
  public NDArray addi(NDArray other) {
    return inPlace(add(other));
  }

  @Override
  public NDArray addi(Number n) {
    return inPlace(add(n));
  }

  @Override
  public NDArray subi(NDArray other) {
    return inPlace(sub(other));
  }

  @Override
  public NDArray subi(Number n) {
    return inPlace(sub(n));
  }

  @Override
  public NDArray muli(NDArray other) {
    return inPlace(mul(other));
  }

  @Override
  public NDArray muli(Number n) {
    return inPlace(mul(n));
  }

  @Override
  public NDArray divi(NDArray other) {
    return inPlace(div(other));
  }

  @Override
  public NDArray divi(Number n) {
    return inPlace(div(n));
  }

  @Override
  public NDArray modi(NDArray other) {
    return inPlace(mod(other));
  }

  @Override
  public NDArray modi(Number n) {
    return inPlace(mod(n));
  }

  @Override
  public NDArray powi(NDArray other) {
    return inPlace(pow(other));
  }

  @Override
  public NDArray powi(Number n) {
    return inPlace(pow(n));
  }

  @Override
  public NDArray negi() {
    return inPlace(neg());
  }

  @Override
  public NDArray signi() {
    return inPlace(sign());
  }

  @Override
  public NDArray square() {
    return mul(this);
  }

  @Override
  public NDArray cbrt() {
    try (NDArray magnitude = abs();
        NDArray root = magnitude.pow(1.0 / 3);
        NDArray sign = sign()) {
      return root.mul(sign);
    }
  }

  @Override
  public NDArray clip(Number min, Number max) {
    Device device = self().getDevice();
    try (LibTorchArray low = self().manager().scalar(min, dataType, device);
        LibTorchArray high = self().manager().scalar(max, dataType, device)) {
      return CLAMP.call().tensor(self()).optional(low).optional(high).array(self().manager());
    }
  }

  @Override
  public boolean contentEquals(Number n) {
    try (NDArray same = eq(n);
        NDArray all = same.all()) {
      return all.getBoolean();
    }
  }

  @Override
  public boolean contentEquals(NDArray other) {
    if (other == null || !shape.equals(other.getShape()) || dataType != other.getDataType()) {
      return false;
    }
    Aten.Call call = EQUAL.call().tensor(self()).tensor(LibTorchArray.of(other));
    call.run();
    return call.truth();
  }
}
