package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDManager;
import io.gracebeam.proto.error.GraceException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Greedy generation with a key/value cache for batches of right-padded prompts. Ties go to the
 * lower id. Features of an image that several prompts of a batch share are computed once.
 */
public final class Generator {
  /** Positions of prompts that a packed decoder computes together, at most. */
  public static final int PROMPT_ROWS = 512;

  private final VisionLanguageModel model;
  private final InputMaker inputs;

  /** A generator that makes the inputs of prompts in the model's way. */
  public Generator(VisionLanguageModel model, InputMaker inputs) {
    this.model = model;
    this.inputs = inputs;
  }

  /** Answers of at most the given number of tokens each, in order of the prompts. */
  public List<Generated> generate(List<Prompt> prompts, int maxNewTokens) {
    if (prompts.isEmpty()) {
      return List.of();
    }
    List<Generated> out = new ArrayList<>();
    for (Generated answer : generate(batch(encode(prompts)), maxNewTokens)) {
      out.add(new Generated(answer.ids(), answer.logProbs(), inputs.decode(answer.ids())));
    }
    return out;
  }

  /**
   * Makes the input of a prompt, to see whether it can be answered.
   *
   * @throws GraceException data, for a bad image, or placeholders that do not fit the images
   */
  public void check(Prompt prompt) {
    encode(List.of(prompt));
  }

  /**
   * Natural log-probability of each choice (all its tokens and no end token) as the answer of the
   * prompt; one array per prompt.
   *
   * @throws GraceException data, for a choice without a token: its empty product would beat all
   *     others
   */
  public List<float[]> scoreChoices(List<Prompt> prompts, List<List<String>> choices) {
    List<float[]> out = new ArrayList<>();
    for (int p = 0; p < prompts.size(); p++) {
      ModelInput prefix = encode(List.of(prompts.get(p))).getFirst();
      int count = choices.get(p).size();
      float[] scores = new float[count];
      for (int c = 0; c < count; c++) {
        long[] answer = inputs.ids(choices.get(p).get(c));
        if (answer.length == 0) {
          throw GraceException.data(
              "choice %d is empty: '%s'; allowed is text that gives a token",
              c + 1, choices.get(p).get(c));
        }
        scores[c] = score(prefix, answer);
      }
      out.add(scores);
    }
    return out;
  }

  private float score(ModelInput prefix, long[] answer) {
    int vocab = model.config().vocab();
    int[] rows = new int[answer.length];
    Arrays.setAll(rows, i -> prefix.ids().length - 1 + i);
    Batch batch = Batch.of(List.of(prefix.followedBy(answer)), new int[][] {rows}, padding());
    try (NDManager manager = model.manager().newSubManager();
        Forward forward = model.forward(manager, batch)) {
      float[] logits = forward.logits().toFloatArray();
      double sum = 0;
      for (int i = 0; i < answer.length; i++) {
        sum += logProb(logits, i * vocab, vocab, (int) answer[i]);
      }
      return (float) sum;
    }
  }

  /** Generates without decoding. */
  List<Generated> generate(Batch prompts, int maxNewTokens) {
    int batch = prompts.size();
    int[][] tokens = new int[batch][maxNewTokens];
    float[][] logProbs = new float[batch][maxNewTokens];
    int[] produced = new int[batch];
    boolean[] done = new boolean[batch];
    try (Continuation continuation =
        model.packed() == null
            ? new EngineContinuation(model, padding())
            : new PackedContinuation(model, maxNewTokens)) {
      float[] logits = continuation.start(prompts);
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
      done[b] = model.config().tokens().ends().contains(best);
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

  private int padding() {
    return model.config().tokens().padding(model.config().vocab());
  }

  private Batch batch(List<ModelInput> prompts) {
    return Batch.prompts(prompts, padding());
  }

  /** Inputs of prompts; a file that several of them show is one image. */
  private List<ModelInput> encode(List<Prompt> prompts) {
    Map<Path, ModelImage> images = new HashMap<>();
    List<ModelInput> out = new ArrayList<>();
    for (Prompt prompt : prompts) {
      List<ModelImage> own = new ArrayList<>();
      for (Path path : prompt.images()) {
        own.add(images.computeIfAbsent(path, inputs::image));
      }
      out.add(inputs.encode(prompt.turns(), own, false));
    }
    return out;
  }
}
