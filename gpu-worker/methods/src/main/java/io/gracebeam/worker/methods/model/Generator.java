package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.methods.image.ImageProcessor;
import io.gracebeam.worker.methods.text.ChatTokenizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Greedy generation with a key/value cache for batches of right-padded prompts. Ties go to the
 * lower id. Features of an image that several prompts of a batch share are computed once.
 */
public final class Generator {
  private final LlavaModel model;
  private final ChatTokenizer tokenizer;
  private final ImageProcessor processor;

  /** The tokenizer is used to encode prompts and decode answers, the processor for images. */
  public Generator(LlavaModel model, ChatTokenizer tokenizer, ImageProcessor processor) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.processor = processor;
  }

  /** Answers of at most the given number of tokens each, in order of the prompts. */
  public List<Generated> generate(List<Prompt> prompts, int maxNewTokens) {
    if (prompts.isEmpty()) {
      return List.of();
    }
    long[][] ids = new long[prompts.size()][];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = expand(tokenizer.encode(prompts.get(i).turns(), false).ids());
    }
    Images images = images(prompts);
    List<Generated> out = new ArrayList<>();
    for (Generated answer : generate(images.pixels, images.of, ids, maxNewTokens)) {
      out.add(new Generated(answer.ids(), answer.logProbs(), tokenizer.decode(answer.ids())));
    }
    return out;
  }

  /**
   * Natural log-probability of each choice (all its tokens and no end token) as the answer of the
   * prompt; one array per prompt.
   *
   * @throws GraceException DATA for a choice without a token: its empty product would beat all
   *     others
   */
  public List<float[]> scoreChoices(List<Prompt> prompts, List<List<String>> choices) {
    List<float[]> out = new ArrayList<>();
    for (int p = 0; p < prompts.size(); p++) {
      long[] prefix = expand(tokenizer.encode(prompts.get(p).turns(), false).ids());
      int count = choices.get(p).size();
      float[] scores = new float[count];
      Images image = images(List.of(prompts.get(p)));
      for (int c = 0; c < count; c++) {
        long[] answer = tokenizer.ids(choices.get(p).get(c));
        if (answer.length == 0) {
          throw GraceException.data(
              "choice %d is empty: '%s'; allowed is text that gives a token",
              c + 1, choices.get(p).get(c));
        }
        long[] all = Arrays.copyOf(prefix, prefix.length + answer.length);
        System.arraycopy(answer, 0, all, prefix.length, answer.length);
        int[] rows = new int[answer.length];
        Arrays.setAll(rows, i -> prefix.length - 1 + i);
        scores[c] = score(image.pixels, all, rows, answer);
      }
      out.add(scores);
    }
    return out;
  }

  private float score(float[] pixels, long[] ids, int[] rows, long[] answer) {
    int vocab = model.config().vocab();
    try (NDManager manager = model.manager().newSubManager();
        Forward forward =
            model.forward(
                EngineArrays.of(manager, pixels, pixelShape(1)),
                new long[][] {ids},
                new int[][] {rows})) {
      float[] logits = forward.logits().toFloatArray();
      double sum = 0;
      for (int i = 0; i < answer.length; i++) {
        sum += logProb(logits, i * vocab, vocab, (int) answer[i]);
      }
      return (float) sum;
    }
  }

  /**
   * Generates from token ids (placeholders repeated) without decoding.
   *
   * @param pixels [U, 3, H, W] flat
   * @param imageOf which of the U images each prompt has
   */
  List<Generated> generate(float[] pixels, int[] imageOf, long[][] ids, int maxNewTokens) {
    int batch = ids.length;
    int[] lengths = Arrays.stream(ids).mapToInt(row -> row.length).toArray();
    int longest = Arrays.stream(lengths).max().orElseThrow();
    long[][] padded = new long[batch][];
    for (int b = 0; b < batch; b++) {
      padded[b] = Arrays.copyOf(ids[b], longest);
      Arrays.fill(padded[b], lengths[b], longest, padId());
    }
    int[][] tokens = new int[batch][maxNewTokens];
    float[][] logProbs = new float[batch][maxNewTokens];
    int[] produced = new int[batch];
    boolean[] done = new boolean[batch];
    try (NDManager manager = model.manager().newSubManager();
        KvCache cache = new KvCache(manager, model.config().text().layers())) {
      float[] logits = prefill(manager, cache, pixels, imageOf, padded, lengths);
      for (int step = 0; step < maxNewTokens; step++) {
        int[] next = pick(logits, tokens, logProbs, produced, done);
        if (next.length == 0 || step == maxNewTokens - 1) {
          break;
        }
        logits = decode(cache, next, lengths, longest, step);
      }
    }
    List<Generated> out = new ArrayList<>();
    for (int b = 0; b < batch; b++) {
      out.add(
          new Generated(
              Arrays.copyOf(tokens[b], produced[b]), Arrays.copyOf(logProbs[b], produced[b]), ""));
    }
    return out;
  }

  private float[] prefill(
      NDManager manager,
      KvCache cache,
      float[] pixels,
      int[] imageOf,
      long[][] ids,
      int[] lengths) {
    LlavaConfig config = model.config();
    int unique = Arrays.stream(imageOf).max().orElseThrow() + 1;
    int width = config.text().width();
    int length = ids[0].length;
    Decoder decoder = model.decoder();
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      NDArray images = EngineArrays.of(manager, pixels, pixelShape(unique));
      model.checkPixels(images);
      int n = config.imageTokens();
      long[] which = new long[imageOf.length * n];
      Arrays.setAll(which, i -> (long) imageOf[i / n] * n + i % n);
      NDArray visual = Ops.scoped(() -> Ops.rows(model.manager(), model.visualRows(images), which));
      model.checkIds(
          images.get(new ai.djl.ndarray.index.NDIndex("0:1")).repeat(0, ids.length), ids);
      int[][] positions = new int[ids.length][length];
      for (int[] row : positions) {
        Arrays.setAll(row, i -> i);
      }
      Decoder.Rotary rotary = decoder.rotary(positions);
      NDArray mask = decoder.causalMask(length);
      long[] last = new long[ids.length];
      Arrays.setAll(last, b -> (long) b * length + lengths[b] - 1);
      NDArray x = Ops.scoped(() -> decoder.embed(ids, visual));
      return finish(x, rotary, mask, cache, last, width);
    }
  }

  private float[] decode(KvCache cache, int[] next, int[] lengths, int longest, int step) {
    Decoder decoder = model.decoder();
    int batch = next.length;
    int keys = longest + step + 1;
    try (NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      long[][] ids = new long[batch][1];
      int[][] positions = new int[batch][1];
      long[] last = new long[batch];
      float[] mask = new float[batch * keys];
      for (int b = 0; b < batch; b++) {
        ids[b][0] = next[b];
        positions[b][0] = lengths[b] + step;
        last[b] = b;
        Arrays.fill(mask, b * keys + lengths[b], b * keys + longest, Decoder.MASKED);
      }
      NDArray maskArray =
          EngineArrays.of(model.manager(), mask, new Shape(batch, 1, 1, 1, keys), model.compute());
      NDArray x = Ops.scoped(() -> decoder.embed(ids, null));
      return finish(
          x, decoder.rotary(positions), maskArray, cache, last, model.config().text().width());
    }
  }

  private float[] finish(
      NDArray start, Decoder.Rotary rotary, NDArray mask, KvCache cache, long[] rows, int width) {
    NDArray x = start;
    for (int i = 0; i < model.config().text().layers(); i++) {
      NDArray in = x;
      int layer = i;
      x = Ops.scoped(() -> model.decoder().block(in, layer, rotary, mask, cache));
      in.close();
    }
    NDArray last = x;
    return Ops.scoped(
            () -> model.decoder().head(Ops.rows(model.manager(), last.reshape(-1, width), rows)))
        .toFloatArray();
  }

  /** Records the best token of every unfinished row; empty when all are finished. */
  private int[] pick(
      float[] logits, int[][] tokens, float[][] logProbs, int[] produced, boolean[] done) {
    int vocab = model.config().vocab();
    int[] next = new int[done.length];
    boolean any = false;
    for (int b = 0; b < done.length; b++) {
      if (done[b]) {
        next[b] = padId();
        continue;
      }
      int best = 0;
      for (int i = 1; i < vocab; i++) {
        if (logits[b * vocab + i] > logits[b * vocab + best]) {
          best = i;
        }
      }
      next[b] = best;
      tokens[b][produced[b]] = best;
      logProbs[b][produced[b]++] = (float) logProb(logits, b * vocab, vocab, best);
      done[b] = best == model.config().eosToken();
      any |= !done[b];
    }
    return any ? next : new int[0];
  }

  private static double logProb(float[] logits, int offset, int vocab, int id) {
    double max = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < vocab; i++) {
      max = Math.max(max, logits[offset + i]);
    }
    double sum = 0;
    for (int i = 0; i < vocab; i++) {
      sum += Math.exp(logits[offset + i] - max);
    }
    return logits[offset + id] - max - Math.log(sum);
  }

  private long[] expand(long[] ids) {
    int token = model.config().imageToken();
    return Arrays.stream(ids)
        .flatMap(
            id ->
                java.util.stream.LongStream.generate(() -> id)
                    .limit(id == token ? model.config().imageTokens() : 1))
        .toArray();
  }

  private int padId() {
    int pad = model.config().padToken();
    return pad >= 0 && pad < model.config().vocab() && pad != model.config().imageToken() ? pad : 0;
  }

  private Shape pixelShape(int count) {
    int size = model.config().vision().imageSize();
    return new Shape(count, 3, size, size);
  }

  private record Images(float[] pixels, int[] of) {}

  private Images images(List<Prompt> prompts) {
    Map<Path, Integer> places = new LinkedHashMap<>();
    int[] of = new int[prompts.size()];
    for (int i = 0; i < of.length; i++) {
      Path path = prompts.get(i).image();
      places.putIfAbsent(path, places.size());
      of[i] = places.get(path);
    }
    int each = 3 * processor.side() * processor.side();
    float[] pixels = new float[Math.multiplyExact(each, places.size())];
    places.forEach(
        (path, place) -> System.arraycopy(processor.process(path), 0, pixels, place * each, each));
    return new Images(pixels, of);
  }
}
