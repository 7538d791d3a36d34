package io.gracebeam.worker.methods.quantize;

import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.model.ModelParameter;
import io.gracebeam.worker.methods.model.ModelParameters;
import io.gracebeam.worker.methods.model.Part;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** Cuts a model into the blocks that quantizers take, as its parameters' places say. */
public final class Blocks {
  /** A block of a part; -1 for what is outside of its blocks. */
  private record Key(Part part, int block) {
    static Key of(ModelParameter parameter) {
      return new Key(parameter.place().part(), parameter.place().block());
    }
  }

  private Blocks() {}

  /**
   * The blocks of these parts, in the order of the tensors.
   *
   * @param tensors a model's dense tensors by canonical name
   */
  public static List<Block> of(
      Map<String, Tensor> tensors, ModelParameters parameters, Set<Part> parts) {
    Map<Key, List<ModelParameter>> all = new LinkedHashMap<>();
    for (String name : tensors.keySet()) {
      parameters
          .find(name)
          .filter(p -> parts.contains(p.place().part()))
          .ifPresent(p -> all.computeIfAbsent(Key.of(p), k -> new ArrayList<>()).add(p));
    }
    List<Block> out = new ArrayList<>();
    all.values().stream()
        .filter(own -> own.stream().anyMatch(p -> p.is(ModelParameter.Trait.LINEAR)))
        .forEach(own -> out.add(block(own, tensors)));
    return out;
  }

  private static Block block(List<ModelParameter> parameters, Map<String, Tensor> tensors) {
    Map<String, Tensor> own = new LinkedHashMap<>();
    parameters.forEach(p -> own.put(p.name(), tensors.get(p.name())));
    List<Linear> linears = new ArrayList<>();
    for (ModelParameter p : parameters) {
      if (p.is(ModelParameter.Trait.LINEAR)) {
        Optional<String> before = p.before().filter(tensors::containsKey);
        before.ifPresent(b -> own.put(b, tensors.get(b)));
        long[] shape = tensors.get(p.name()).shape();
        linears.add(new Linear(p.name(), (int) shape[0], (int) shape[1], before));
      }
    }
    Part part = parameters.getFirst().place().part();
    return new Block(name(parameters), part, linears, own);
  }

  /** What the names of a block's tensors have in common, up to a dot. */
  private static String name(List<ModelParameter> parameters) {
    String common = parameters.getFirst().name();
    for (ModelParameter p : parameters) {
      int end = 0;
      int most = Math.min(common.length(), p.name().length());
      while (end < most && common.charAt(end) == p.name().charAt(end)) {
        end++;
      }
      common = common.substring(0, end);
    }
    return common.substring(0, Math.max(0, common.lastIndexOf('.')));
  }
}
