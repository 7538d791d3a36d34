package io.gracebeam.worker.kernels;

/** Selection of the largest logits of a row, with a fixed order for ties. */
public final class TopK {
  private TopK() {}

  /**
   * The k largest values in descending order; of equal values the lower id comes first.
   *
   * @param ids token ids, [k], or [rows, k] of several rows
   * @param values their logits, in the same shape
   */
  @SuppressWarnings("ArrayRecordComponent")
  public record Selection(int[] ids, float[] values) {}

  /** Selects from each row of {@code logits [rows, vocab]}; k is 1 to vocab. */
  public static Selection selectRows(float[] logits, int rows, int vocab, int k) {
    String where = "TopK.selectRows";
    Checks.notNegative(where, "rows", rows);
    Checks.positive(where, "vocab", vocab);
    Checks.length(where, "logits", logits.length, Checks.product(where, rows, vocab));
    if (k < 1 || k > vocab) {
      throw Checks.error(where, "k is %d, allowed are 1 to %d", k, vocab);
    }
    Checks.product(where, rows, k);
    Checks.finite(where, "logits", logits, 0, logits.length);
    return KernelProvider.best().losses().topK(logits, rows, vocab, k);
  }

  /** Selects from row {@code row} of {@code logits [rows, vocab]}; k is 1 to vocab. */
  public static Selection select(float[] logits, int row, int vocab, int k) {
    String where = "TopK.select";
    Checks.positive(where, "vocab", vocab);
    Checks.notNegative(where, "row", row);
    Checks.atLeast(where, "logits", logits.length, Checks.product(where, row + 1, vocab));
    if (k < 1 || k > vocab) {
      throw Checks.error(where, "k is %d, allowed are 1 to %d", k, vocab);
    }
    int base = row * vocab;
    Checks.finite(where, "logits", logits, base, base + vocab);
    int[] heap = new int[k]; // the root is the worst kept id
    int n = 0;
    for (int id = 0; id < vocab; id++) {
      if (n < k) {
        heap[n] = id;
        for (int c = n++;
            c > 0 && worse(logits, base, heap[c], heap[(c - 1) / 2]);
            c = (c - 1) / 2) {
          swap(heap, c, (c - 1) / 2);
        }
      } else if (logits[base + id] > logits[base + heap[0]]) {
        heap[0] = id;
        sink(logits, base, heap, n);
      }
    }
    int[] ids = new int[k];
    float[] values = new float[k];
    for (int i = k - 1; i >= 0; i--) {
      ids[i] = heap[0];
      values[i] = logits[base + heap[0]];
      heap[0] = heap[i];
      sink(logits, base, heap, i);
    }
    return new Selection(ids, values);
  }

  private static void sink(float[] logits, int base, int[] heap, int n) {
    int p = 0;
    while (true) {
      int c = 2 * p + 1;
      if (c >= n) {
        return;
      }
      if (c + 1 < n && worse(logits, base, heap[c + 1], heap[c])) {
        c++;
      }
      if (!worse(logits, base, heap[c], heap[p])) {
        return;
      }
      swap(heap, c, p);
      p = c;
    }
  }

  private static boolean worse(float[] logits, int base, int a, int b) {
    float x = logits[base + a];
    float y = logits[base + b];
    return x < y || (x == y && a > b);
  }

  private static void swap(int[] heap, int a, int b) {
    int t = heap[a];
    heap[a] = heap[b];
    heap[b] = t;
  }
}
