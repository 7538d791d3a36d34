package io.gracebeam.worker.methods.quantize;

import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.model.Part;
import java.util.List;
import java.util.Map;

/**
 * The weights of one transformer block, or of a part that has no blocks.
 *
 * @param name canonical name, for messages
 * @param part the part of the model that it belongs to
 * @param linears what is to be quantized, in the order of the checkpoint
 * @param tensors all tensors of the block and the predecessors of its linears, by canonical name
 */
public record Block(String name, Part part, List<Linear> linears, Map<String, Tensor> tensors) {
  /** Copies the collections. */
  public Block {
    linears = List.copyOf(linears);
    tensors = Map.copyOf(tensors);
  }

  /** The values of a linear's weight [rows, cols]. */
  public float[] values(Linear linear) {
    return tensors.get(linear.weight()).floats();
  }
}
