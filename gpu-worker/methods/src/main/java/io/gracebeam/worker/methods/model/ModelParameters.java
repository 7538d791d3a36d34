package io.gracebeam.worker.methods.model;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.model.ModelParameter.Trait;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** All parameters of a model, by canonical name and in canonical order. */
public final class ModelParameters {
  private final Map<String, ModelParameter> byName = new LinkedHashMap<>();

  /**
   * Parameters in canonical order.
   *
   * @throws GraceException bug, where two have one name
   */
  public ModelParameters(Collection<ModelParameter> parameters) {
    for (ModelParameter p : parameters) {
      if (byName.put(p.name(), p) != null) {
        throw GraceException.bug("the model has two parameters %s", p.name());
      }
    }
  }

  /** Names in canonical order. */
  public Set<String> names() {
    return Collections.unmodifiableSet(byName.keySet());
  }

  /** Parameters in canonical order. */
  public Collection<ModelParameter> all() {
    return Collections.unmodifiableCollection(byName.values());
  }

  /** A parameter; empty where there is none of the name. */
  public Optional<ModelParameter> find(String name) {
    return Optional.ofNullable(byName.get(name));
  }

  /**
   * A parameter.
   *
   * @throws GraceException bug, where there is none of the name
   */
  public ModelParameter get(String name) {
    return find(name).orElseThrow(() -> GraceException.bug("the model has no parameter %s", name));
  }

  /** The part of a linear weight; empty for all that is never quantized or not there. */
  public Optional<Part> linearPart(String name) {
    return find(name).filter(p -> p.is(Trait.LINEAR)).map(p -> p.place().part());
  }

  /** Names of a part's linear weights, in canonical order. */
  public List<String> linears(Part part) {
    return byName.values().stream()
        .filter(p -> p.is(Trait.LINEAR) && p.place().part() == part)
        .map(ModelParameter::name)
        .toList();
  }
}
