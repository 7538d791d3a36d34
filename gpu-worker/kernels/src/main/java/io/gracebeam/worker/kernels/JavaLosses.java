package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Losses in plain Java, in double precision.
 *
 * @param products that the relational loss uses
 */
record JavaLosses(ProductKernels products) implements LossKernels {
  private static final int LARGE = 1 << 13;

  @Override
  public TokenLosses.Result tokenLosses(TokenLosses.Rows r, MemorySegment logits) {
    float[] z = logits.toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
    boolean[] bad = new boolean[r.rows()];
    for (int i = 0; i < bad.length; i++) {
      float sum = 0;
      for (int j = i * r.vocab(); j < (i + 1) * r.vocab(); j++) {
        sum += z[j] * 0f;
      }
      bad[i] = sum != 0; // NaN
      if (bad[i]) {
        Arrays.fill(z, i * r.vocab(), (i + 1) * r.vocab(), 0f);
      }
    }
    TokenLosses.Result out = tokenLosses(new TokenLosses.Batch(z, r), z);
    for (int i = 0; i < bad.length; i++) {
      if (bad[i]) {
        out.ce()[i] = Double.NaN;
        out.distillation()[i] = Double.NaN;
      }
    }
    MemorySegment.copy(z, 0, logits, ValueLayout.JAVA_FLOAT_UNALIGNED, 0, z.length);
    return out;
  }

  @Override
  public TokenLosses.Result tokenLosses(TokenLosses.Batch batch, float[] d) {
    TokenLosses.Rows b = batch.rows();
    TokenLosses.checkLogits(batch);
    if (b.teacher() != null) {
      b.teacher().checkFinite();
    }
    double[] ce = new double[b.rows()];
    double[] distillation = new double[b.rows()];
    float[] logits = batch.logits();
    boolean inPlace = d == logits;
    Parallel.run(
        Parallel.shared(),
        d.length > LARGE,
        b.rows(),
        i -> {
          int at = i * b.vocab();
          float[] z = inPlace ? Arrays.copyOfRange(logits, at, at + b.vocab()) : logits;
          int from = inPlace ? 0 : at;
          if (b.teacher() == null) {
            Arrays.fill(d, at, at + b.vocab(), 0f);
          } else {
            distillation[i] =
                new DkdRow(z, from, b.teacher(), i, b.targets()[i])
                    .loss(b.options(), b.weights()[i], d);
          }
          ce[i] = CrossEntropy.row(z, from, b.vocab(), b.targets()[i], b.ceWeight(), d, at);
        });
    return new TokenLosses.Result(ce, distillation);
  }

  @Override
  public TeacherStatistics[] statistics(
      float[] logits, int rows, int vocab, int[] targets, double temperature) {
    TeacherStatistics[] out = new TeacherStatistics[rows];
    Parallel.run(
        Parallel.shared(),
        logits.length > LARGE,
        rows,
        i -> out[i] = TeacherStatistics.of(logits, i, vocab, targets[i], temperature));
    return out;
  }

  @Override
  public TopK.Selection topK(float[] logits, int rows, int vocab, int k) {
    TopK.Selection out = new TopK.Selection(new int[rows * k], new float[rows * k]);
    Parallel.run(
        Parallel.shared(),
        logits.length > LARGE,
        rows,
        i -> {
          TopK.Selection row = TopK.select(logits, i, vocab, k);
          System.arraycopy(row.ids(), 0, out.ids(), i * k, k);
          System.arraycopy(row.values(), 0, out.values(), i * k, k);
        });
    return out;
  }

  @Override
  public float[] gram(float[] v, int n, int d) {
    return Rcka.gram(products, v, n, d);
  }

  @Override
  public Rcka.Result rcka(float[] teacher, float[] v, int n, int d, long bytes) {
    return Rcka.apply(products, teacher, v, n, d, bytes);
  }
}
