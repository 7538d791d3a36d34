package io.gracebeam.worker.methods.text;

import ai.djl.huggingface.tokenizers.Encoding;
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.CharSpan;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** The tokenizer.json of a model folder. */
public final class Tokenizer implements AutoCloseable {
  private final HuggingFaceTokenizer tokenizer;

  private Tokenizer(HuggingFaceTokenizer tokenizer) {
    this.tokenizer = tokenizer;
  }

  /** Code points of a text, from {@code start} up to but without {@code end}. */
  public record Span(int start, int end) {}

  /**
   * Tokens of a text.
   *
   * @param inSpans which of them lie in one of the given spans
   */
  @SuppressWarnings("ArrayRecordComponent") // compared by nobody
  public record Encoded(long[] ids, boolean[] inSpans) {}

  /**
   * Loads tokenizer.json of a model folder.
   *
   * @throws GraceException data, where it is missing or wrong
   */
  public static Tokenizer load(Path dir) {
    Path file = dir.resolve("tokenizer.json");
    if (!Files.isRegularFile(file)) {
      throw GraceException.data("the model folder %s has no tokenizer.json", dir.getFileName());
    }
    System.setProperty("OPT_OUT_TRACKING", "true");
    System.setProperty("ai.djl.offline", "true");
    try {
      return new Tokenizer(
          HuggingFaceTokenizer.newInstance(
              file, Map.of("truncation", "false", "padding", "false", "addSpecialTokens", "true")));
    } catch (IOException | RuntimeException e) {
      throw GraceException.data(
              "tokenizer.json cannot be read (%s)", String.valueOf(e.getMessage()))
          .withCause(e);
    }
  }

  /** Encodes a text with the tokens that the tokenizer puts around it. */
  public Encoded encode(String text, List<Span> spans) {
    Encoding encoding = tokenizer.encode(text);
    long[] ids = encoding.getIds();
    CharSpan[] places = encoding.getCharTokenSpans();
    boolean[] inSpans = new boolean[ids.length];
    for (int i = 0; i < ids.length; i++) {
      CharSpan place = places[i];
      if (place != null && place.getEnd() > place.getStart()) {
        inSpans[i] =
            spans.stream()
                .anyMatch(s -> place.getStart() >= s.start() && place.getEnd() <= s.end());
      }
    }
    return new Encoded(ids, inSpans);
  }

  /** Ids of a text, without a start token. */
  public long[] ids(String text) {
    return tokenizer.encode(text, false, false).getIds();
  }

  /** The text of ids, special tokens left out. */
  public String decode(int[] ids) {
    return tokenizer.decode(Arrays.stream(ids).asLongStream().toArray(), true).strip();
  }

  /** A text in which special tokens are broken up by a space behind their first character. */
  public static String withoutSpecial(String text, List<String> special) {
    String out = text;
    for (String token : special) {
      out = out.replace(token, token.charAt(0) + " " + token.substring(1));
    }
    return out;
  }

  @Override
  public void close() {
    tokenizer.close();
  }
}
