package io.gracebeam.worker.kernels.cuda;

import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.kernels.GatedDkd;
import java.util.List;
import java.util.Random;

/** Every kernel at random awkward sizes; the same comparisons as the tests make under emulation. */
final class CudaChecks {
  /** A comparison that throws where a kernel and its oracle disagree. */
  interface Body {
    void run(Random random);
  }

  /**
   * One kind of comparison.
   *
   * @param name of what is compared
   * @param body draws its sizes and values
   */
  record Check(String name, Body body) {}

  private static final int[] BITS = {2, 3, 4, 5, 8, 16};

  private CudaChecks() {}

  static List<Check> all(CudaLibrary library, Device device) {
    ProductChecks products = new ProductChecks(library, device);
    QuantizerChecks quantizer = new QuantizerChecks(library, device);
    LossChecks losses = new LossChecks(library, device);
    DecoderChecks decoder = new DecoderChecks(library, device);
    return List.of(
        new Check("product, few inputs", r -> product(products, r, upTo(r, 16))),
        new Check("product, many inputs", r -> product(products, r, 16 + upTo(r, 130))),
        new Check("product, zero points", r -> zeroPoints(products, r)),
        new Check(
            "product, inputs apart",
            r -> products.inputsAreIndependent(4, upTo(r, 70), 192, upTo(r, 40), r.nextLong())),
        new Check("rounding", r -> products.rounding(upTo(r, 5000), r.nextLong())),
        new Check("quantizer", r -> quantize(quantizer, r)),
        new Check("training step", r -> train(quantizer, r)),
        new Check("teacher rows", r -> teacher(losses, r)),
        new Check("distillation", r -> distillation(losses, r)),
        new Check(
            "relational loss",
            r -> losses.relational(upTo(r, 150), upTo(r, 150), upTo(r, 9), r.nextLong())),
        new Check("norm", r -> decoder.norm(upTo(r, 9), upTo(r, 5000), r.nextLong())),
        new Check("gate", r -> decoder.gate(upTo(r, 9), upTo(r, 5000), r.nextLong())),
        new Check("attention", r -> attention(decoder, r)),
        new Check("decoder", r -> decode(decoder, r)));
  }

  private static int upTo(Random random, int most) {
    return 1 + random.nextInt(most);
  }

  private static void product(ProductChecks checks, Random r, int m) {
    int group = 32 * upTo(r, 5);
    int bits = BITS[r.nextInt(BITS.length)];
    int cols = group * upTo(r, 5);
    checks.product(
        bits, upTo(r, 300), cols, group, m, r.nextBoolean(), r.nextBoolean(), r.nextLong());
  }

  private static void zeroPoints(ProductChecks checks, Random r) {
    int group = 32 * upTo(r, 5);
    int cols = group * upTo(r, 5);
    checks.zeroPoints(
        2 + r.nextInt(7), upTo(r, 300), cols, group, upTo(r, 80), r.nextBoolean(), r.nextLong());
  }

  private static void quantize(QuantizerChecks checks, Random r) {
    int group = upTo(r, 140);
    checks.quantize(2 + r.nextInt(7), upTo(r, 20), group * upTo(r, 4), group, r.nextLong());
  }

  private static void train(QuantizerChecks checks, Random r) {
    int group = upTo(r, 140);
    int cols = group * upTo(r, 4);
    checks.steps(2 + r.nextInt(7), upTo(r, 20), cols, group, r.nextBoolean(), r.nextLong());
  }

  private static void teacher(LossChecks checks, Random r) {
    int vocab = 1 + upTo(r, 20_000);
    int k = Math.min(vocab, upTo(r, 300));
    checks.teacher(
        upTo(r, 5),
        vocab,
        k,
        0.5 + 3 * r.nextDouble(),
        6 * r.nextDouble(),
        r.nextBoolean(),
        r.nextLong());
  }

  private static void distillation(LossChecks checks, Random r) {
    int vocab = 1 + upTo(r, 10_000);
    int k = r.nextBoolean() ? 0 : Math.min(vocab, upTo(r, 200));
    GatedDkd.Mode mode = r.nextBoolean() ? GatedDkd.Mode.DKD : GatedDkd.Mode.KD;
    GatedDkd.Options o =
        new GatedDkd.Options(mode, r.nextBoolean(), 0.5 + 3 * r.nextDouble(), 1, 4);
    checks.distillation(upTo(r, 5), vocab, k, o, 4 * r.nextDouble(), r.nextBoolean(), r.nextLong());
  }

  private static void attention(DecoderChecks checks, Random r) {
    int kv = upTo(r, 3);
    int length = upTo(r, 300);
    DecoderChecks.Heads heads =
        new DecoderChecks.Heads(
            kv * upTo(r, 6), kv, 8 * upTo(r, 32), 2, length + 5, r.nextBoolean() ? 8 : 16);
    checks.attention(heads, length, r.nextBoolean(), r.nextLong());
  }

  private static void decode(DecoderChecks checks, Random r) {
    int kv = upTo(r, 2);
    int heads = kv * 2;
    DecoderShape shape =
        new DecoderShape(
            upTo(r, 3), 32 * upTo(r, 4), heads, kv, 16 * upTo(r, 4), 32 * upTo(r, 6), 37, 1e-5f);
    int bits = BITS[r.nextInt(BITS.length - 1) + 1];
    DecoderChecks.Model model =
        new DecoderChecks.Model(
            shape, bits, r.nextBoolean() ? 8 : 16, r.nextBoolean() ? 8 : 16, r.nextBoolean());
    checks.decoder(model, upTo(r, 25), r.nextLong());
  }
}
