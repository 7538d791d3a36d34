package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDManager;
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
  /** Positions of prompts that a packed decoder computes together, at most. */
  public static final int PROMPT_ROWS = 512;

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
    int[][] tokens = new int[batch][maxNewTokens];
    float[][] logProbs = new float[batch][maxNewTokens];
    int[] produced = new int[batch];
    boolean[] done = new boolean[batch];
    try (Continuation continuation =
        model.packed() == null
            ? new EngineContinuation(model, padId())
            : new PackedContinuation(model, maxNewTokens)) {
      float[] logits = continuation.start(pixels, imageOf, ids);
      for (int step = 0; step < maxNewTokens; step++) {
        int[] next = pick(logits, tokens, logProbs, produced, done);
        if (next.length == 0 || step == maxNewTokens - 1) {
          break;
        }
        logits = continuation.next(next);
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

  /** Records the best token of every unfinished row; empty when all are finished. */
  private int[] pick(
      float[] logits, int[][] tokens, float[][] logProbs, int[] produced, boolean[] done) {
    int vocab = model.config().vocab();
    int[] next = new int[done.length];
    boolean any = false;
    for (int b = 0; b < done.length; b++) {
      if (done[b]) {
        next[b] = Continuation.NONE;
        continue;
      }
      int best = 0;
      for (int i = 1; i < vocab; i++) {
        if (logits[b * vocab + i] > logits[b * vocab + best]) {
          best = i;
        }
      }
      tokens[b][produced[b]] = best;
      logProbs[b][produced[b]++] = (float) logProb(logits, b * vocab, vocab, best);
      done[b] = best == model.config().eosToken();
      next[b] = done[b] ? Continuation.NONE : best;
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
