package io.gracebeam.worker.methods.training;

import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.signals.Signals;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Batches without images, for tests of the losses. */
final class Batches {
  private Batches() {}

  /** Pairs items with their signals, of which there may be none at all. */
  static List<Example> of(List<Item> items, List<Signals> signals) {
    List<Example> out = new ArrayList<>();
    for (int i = 0; i < items.size(); i++) {
      out.add(new Example(items.get(i), signals.isEmpty() ? null : signals.get(i)));
    }
    return out;
  }

  /** Relational losses of images of n tokens, with states [B * n, d] and their gradient. */
  static float[] relations(
      Losses losses,
      float[] states,
      int n,
      List<Signals> teacher,
      Losses.Norms norms,
      Losses.Total total) {
    float[] out = new float[states.length];
    int size = states.length / teacher.size();
    Losses.Relation how = new Losses.Relation(norms.images(), 1, Long.MAX_VALUE);
    for (int i = 0; i < teacher.size(); i++) {
      float[] own = Arrays.copyOfRange(states, i * size, (i + 1) * size);
      float[] d = losses.relation(teacher.get(i).grams().getFirst(), own, n, how, total);
      System.arraycopy(d, 0, out, i * size, size);
    }
    return out;
  }
}
