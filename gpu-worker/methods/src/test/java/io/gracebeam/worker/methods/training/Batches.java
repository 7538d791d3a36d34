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
      out.add(new Example(items.get(i), null, signals.isEmpty() ? null : signals.get(i)));
    }
    return out;
  }

  /** Relational losses of all images, with states [B, n, d] and their gradient as one array. */
  static float[] relations(
      Losses losses,
      float[] states,
      int n,
      int width,
      List<Signals> teacher,
      Losses.Norms norms,
      double weight,
      Losses.Total total) {
    float[] out = new float[states.length];
    int size = n * width;
    for (int i = 0; i < teacher.size(); i++) {
      float[] own = Arrays.copyOfRange(states, i * size, (i + 1) * size);
      float[] d =
          losses.relation(own, n, width, teacher.get(i), norms, weight, Long.MAX_VALUE, total);
      System.arraycopy(d, 0, out, i * size, size);
    }
    return out;
  }
}
