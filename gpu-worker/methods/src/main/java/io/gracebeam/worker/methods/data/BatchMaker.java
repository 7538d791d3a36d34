package io.gracebeam.worker.methods.data;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.model.Batch;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.ModelImage;
import io.gracebeam.worker.methods.model.ModelInput;
import io.gracebeam.worker.methods.text.Turn;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Turns examples into inputs of a model, and keeps them. A bad example is remembered with its
 * reason and left out.
 */
public final class BatchMaker {
  private final Dataset dataset;
  private final InputMaker inputs;
  private final Map<Integer, Item> items = new HashMap<>();
  private final TreeMap<Integer, String> bad = new TreeMap<>();

  /** A maker of a dataset's batches; the inputs are the caller's to close. */
  public BatchMaker(Dataset dataset, InputMaker inputs) {
    this.dataset = dataset;
    this.inputs = inputs;
  }

  /** Reasons why examples were left out, by index. */
  public Map<Integer, String> bad() {
    return bad;
  }

  /**
   * An example with its images.
   *
   * @throws GraceException data, if the example is bad
   */
  public Item item(int index) {
    Item item = items.get(index);
    if (item == null) {
      item = read(index);
      items.put(index, item);
    }
    return item;
  }

  /** Whether an example can be used; remembers why not. */
  public boolean usable(int index) {
    if (bad.containsKey(index)) {
      return false;
    }
    try {
      item(index);
      return true;
    } catch (GraceException e) {
      if (e.category() != Category.DATA) {
        throw e;
      }
      bad.put(index, e.getMessage());
      return false;
    }
  }

  /** Items as one batch, right padded with the model's padding token. */
  public static Batch batch(List<Item> items, ModelConfig config) {
    return Batch.of(
        items.stream().map(Item::input).toList(),
        items.stream().map(Item::rows).toArray(int[][]::new),
        config.tokens().padding(config.vocab()));
  }

  private Item read(int index) {
    Dataset.Example e = dataset.example(index);
    List<Turn> turns = e.exchanges().stream().map(x -> new Turn(x.question(), x.answer())).toList();
    List<Path> files = dataset.images(index);
    List<ModelImage> images = files.stream().map(inputs::image).toList();
    try {
      return item(e.id(), inputs.encode(turns, images, true));
    } catch (GraceException x) {
      throw x.category() == Category.DATA
          ? GraceException.data("example %s: %s", e.id(), x.getMessage()).withCause(x)
          : x;
    }
  }

  private static Item item(String id, ModelInput input) {
    boolean[] mask = input.labels();
    int count = 0;
    for (int i = 1; i < mask.length; i++) {
      count += mask[i] ? 1 : 0;
    }
    if (count == 0) {
      throw GraceException.data("no answer token to learn from");
    }
    int[] rows = new int[count];
    int[] targets = new int[count];
    int[] answers = new int[count];
    int at = 0;
    int answer = -1;
    for (int i = 1; i < mask.length; i++) {
      if (mask[i]) {
        answer += mask[i - 1] ? 0 : 1;
        rows[at] = i - 1;
        targets[at] = (int) input.ids()[i];
        answers[at++] = answer;
      }
    }
    return new Item(id, input, rows, targets, answers);
  }
}
