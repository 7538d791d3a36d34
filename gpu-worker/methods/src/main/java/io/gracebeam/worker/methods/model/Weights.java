package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.checkpoint.TensorRows;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * A model's parameters on the engine, in its compute type, and what may stand in their place: other
 * products than with the engine's weights, and an embedding table that stays in its file. The parts
 * of a model reach their weights through it.
 */
public final class Weights implements AutoCloseable {
  /** What stands for x [..., in] times weight [out, in] transposed. */
  @FunctionalInterface
  public interface Linear extends AutoCloseable {
    /** x [..., in] to a new array [..., out]. Arrays made inside are closed soon after the call. */
    NDArray apply(NDArray x);

    /** Called once, when it is replaced or the model is closed. */
    @Override
    default void close() {}
  }

  private final ModelConfig config;
  private final ModelParameters layout;
  private final NDManager manager;
  private final DataType compute;
  private final Map<String, NDArray> parameters = new LinkedHashMap<>();
  private final Map<String, Linear> linears = new HashMap<>();
  private TensorRows table;

  Weights(EngineHandle engine, ModelConfig config, ModelParameters layout) {
    this.config = config;
    this.layout = layout;
    this.manager = engine.engine().newBaseManager(engine.device());
    this.compute = engine.compute();
  }

  /** Owner of the parameters; closed with them. */
  public NDManager manager() {
    return manager;
  }

  /** Type of the parameters' arrays and of what is computed with them. */
  public DataType compute() {
    return compute;
  }

  /**
   * A parameter.
   *
   * @throws GraceException bug, if the model has no values of it
   */
  public NDArray parameter(String name) {
    NDArray array = parameters.get(name);
    if (array == null) {
      throw GraceException.bug("the model has neither values nor a replacement of %s", name);
    }
    return array;
  }

  /** x [..., in] times a weight [out, in] transposed. */
  public NDArray linear(String weight, NDArray x) {
    return linear(weight, null, x);
  }

  /** x [..., in] times a weight [out, in] transposed, plus a bias [out]; null for none. */
  public NDArray linear(String weight, String bias, NDArray x) {
    Linear linear = linears.get(weight);
    NDArray b = bias == null ? null : parameter(bias);
    if (linear == null) {
      return Ops.linear(x, parameter(weight), b);
    }
    NDArray y = linear.apply(x);
    return b == null ? y : y.add(b);
  }

  /** Embeddings of tokens [count] -> [count, width]. */
  public NDArray embeddings(long[] tokens) {
    if (table == null) {
      return Ops.rows(manager, parameter(config.names().embedding()), tokens);
    }
    int width = config.text().width();
    float[] out = new float[Math.multiplyExact(tokens.length, width)];
    for (int i = 0; i < tokens.length; i++) {
      table.row((int) tokens[i], out, i * width);
    }
    return EngineArrays.of(manager, out, new Shape(tokens.length, width), compute);
  }

  /** Parameters by canonical name, in canonical order. */
  Map<String, NDArray> all() {
    return Collections.unmodifiableMap(parameters);
  }

  /** Adds a parameter's values. */
  void put(ModelParameter parameter, float[] values) {
    Shape shape = new Shape(parameter.shape());
    if (shape.size() != values.length) {
      throw GraceException.data(
          "%s has %d values; shape %s calls for %d",
          parameter.name(), values.length, shape, shape.size());
    }
    NDArray array = EngineArrays.of(manager, values, shape, compute);
    NDScope.unregister(array);
    array.setName(parameter.name());
    parameters.put(parameter.name(), array);
  }

  /** Whether all products are with the parameters. */
  boolean plain() {
    return linears.isEmpty();
  }

  void setLinear(String weight, Linear linear) {
    if (layout.linearPart(weight).isEmpty()) {
      throw GraceException.bug("%s is not a replaceable linear weight", weight);
    }
    Linear old = linear == null ? linears.remove(weight) : linears.put(weight, linear);
    if (old != null) {
      old.close();
    }
  }

  /** The embedding table that stays in its file; null for the parameter. */
  TensorRows table() {
    return table;
  }

  void setTable(TensorRows rows) {
    if (rows != null && (rows.rows() != config.vocab() || rows.cols() != config.text().width())) {
      rows.close();
      throw GraceException.data(
          "the embedding table is %d x %d; its config.json calls for %d x %d",
          rows.rows(), rows.cols(), config.vocab(), config.text().width());
    }
    if (table != null) {
      table.close();
    }
    table = rows;
  }

  @Override
  public void close() {
    linears.values().forEach(Linear::close);
    linears.clear();
    setTable(null);
    manager.close();
  }
}
