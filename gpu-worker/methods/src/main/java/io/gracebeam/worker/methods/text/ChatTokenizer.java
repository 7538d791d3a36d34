package io.gracebeam.worker.methods.text;

import ai.djl.huggingface.tokenizers.Encoding;
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.CharSpan;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * A tokenizer.json with LLaVA-1.5's conversation form: {@code USER: <image>\n{question} ASSISTANT:
 * {answer}</s>} per turn, the image in the first. Text that spells a special token is broken up, so
 * that users cannot add placeholders.
 */
public final class ChatTokenizer implements AutoCloseable {
  /** The placeholder of an image in text. */
  public static final String IMAGE = "<image>";

  private static final String END = "</s>";
  private static final String ASSISTANT = " ASSISTANT:";
  private static final String[] SPECIAL = {"<s>", END, "<unk>", "<pad>", IMAGE};

  private final HuggingFaceTokenizer tokenizer;

  private ChatTokenizer(HuggingFaceTokenizer tokenizer) {
    this.tokenizer = tokenizer;
  }

  /** One question and its answer; the answer may be empty. */
  public record Turn(String question, String answer) {}

  /**
   * Token ids with one image placeholder (not yet repeated), and which of them are answer tokens to
   * be learned; the logits of the position before predict each.
   */
  public record Encoded(long[] ids, boolean[] labels) {}

  /** Loads tokenizer.json of a model folder. */
  public static ChatTokenizer load(Path dir) {
    Path file = dir.resolve("tokenizer.json");
    if (!Files.isRegularFile(file)) {
      throw GraceException.data("the model folder %s has no tokenizer.json", dir.getFileName());
    }
    System.setProperty("OPT_OUT_TRACKING", "true");
    System.setProperty("ai.djl.offline", "true");
    try {
      return new ChatTokenizer(
          HuggingFaceTokenizer.newInstance(
              file, Map.of("truncation", "false", "padding", "false", "addSpecialTokens", "true")));
    } catch (IOException | RuntimeException e) {
      throw GraceException.data(
              "tokenizer.json cannot be read (%s)", String.valueOf(e.getMessage()))
          .withCause(e);
    }
  }

  /**
   * Encodes a conversation with an image; without answers the last turn stops where its answer
   * would start.
   */
  public Encoded encode(List<Turn> turns, boolean withAnswers) {
    return encode(turns, withAnswers, true);
  }

  /** As {@link #encode(List, boolean)}, with or without the image placeholder in the first turn. */
  public Encoded encode(List<Turn> turns, boolean withAnswers, boolean withImage) {
    if (turns.isEmpty()) {
      throw GraceException.data("a conversation has no turn; allowed: one or more");
    }
    StringBuilder text = new StringBuilder();
    List<int[]> answers = new ArrayList<>();
    for (int i = 0; i < turns.size(); i++) {
      String question = turns.get(i).question();
      if (i == 0) {
        question = question.replace(IMAGE, "").strip();
      }
      text.append("USER: ");
      if (i == 0 && withImage) {
        text.append(IMAGE).append('\n');
      }
      text.append(plain(question)).append(ASSISTANT);
      if (withAnswers || i < turns.size() - 1) {
        int start = text.codePointCount(0, text.length());
        text.append(' ').append(plain(turns.get(i).answer().strip())).append(END);
        answers.add(new int[] {start, text.codePointCount(0, text.length())});
      }
    }
    Encoding encoding = tokenizer.encode(text.toString());
    long[] ids = encoding.getIds();
    CharSpan[] spans = encoding.getCharTokenSpans();
    boolean[] labels = new boolean[ids.length];
    for (int i = 0; i < ids.length; i++) {
      CharSpan span = spans[i];
      if (span != null && span.getEnd() > span.getStart()) {
        labels[i] =
            answers.stream()
                .anyMatch(range -> span.getStart() >= range[0] && span.getEnd() <= range[1]);
      }
    }
    return new Encoded(ids, labels);
  }

  /** Ids of a plain text, without a start token. */
  public long[] ids(String text) {
    return tokenizer.encode(plain(text), false, false).getIds();
  }

  /** The id of a special token such as {@link #IMAGE}; a DATA error if the tokenizer has none. */
  public int special(String token) {
    long[] ids = tokenizer.encode(token, false, false).getIds();
    if (ids.length != 1) {
      throw GraceException.data("tokenizer.json has no special token %s", token);
    }
    return Math.toIntExact(ids[0]);
  }

  /** The text of ids, special tokens left out. */
  public String decode(long[] ids) {
    return tokenizer.decode(ids, true).strip();
  }

  /** As {@link #decode(long[])}. */
  public String decode(int[] ids) {
    return decode(java.util.Arrays.stream(ids).asLongStream().toArray());
  }

  @Override
  public void close() {
    tokenizer.close();
  }

  private static String plain(String text) {
    String out = text;
    for (String special : SPECIAL) {
      out = out.replace(special, special.charAt(0) + " " + special.substring(1));
    }
    return out;
  }
}
