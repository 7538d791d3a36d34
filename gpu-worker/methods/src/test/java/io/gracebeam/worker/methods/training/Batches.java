package io.gracebeam.worker.methods.training;

import io.gracebeam.worker.methods.signals.Signals;
import java.util.ArrayList;
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
}
