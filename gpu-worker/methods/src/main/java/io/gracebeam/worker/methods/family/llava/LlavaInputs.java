package io.gracebeam.worker.methods.family.llava;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.image.ImageProcessor;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelImage;
import io.gracebeam.worker.methods.model.ModelInput;
import io.gracebeam.worker.methods.text.Tokenizer;
import io.gracebeam.worker.methods.text.Turn;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Inputs in LLaVA-1.5's (Vicuna's) conversation form: {@code USER: <image>\n{question} ASSISTANT:
 * {answer}</s>} per turn, a turn's images in front of its question. Text that spells a special
 * token is broken up, so that users cannot add placeholders.
 */
final class LlavaInputs implements InputMaker {
  static final String END = "</s>";

  /** All words that the template adds to the texts. */
  static final String TEMPLATE_WORDS = "USER: ASSISTANT:";

  private static final String ASSISTANT = " ASSISTANT:";
  private static final List<String> SPECIAL = List.of("<s>", END, "<unk>", "<pad>", PLACEHOLDER);

  private final LlavaConfig config;
  private final ImageProcessor processor;
  private final Tokenizer tokenizer;

  LlavaInputs(Path folder, LlavaConfig config) {
    this.config = config;
    this.processor = ImageProcessor.load(folder);
    this.tokenizer = Tokenizer.load(folder);
  }

  @Override
  public ModelImage image(Path file) {
    float[] values = processor.process(file);
    int size = config.vision().imageSize();
    if (values.length != 3 * size * size) {
      throw GraceException.data(
          "the image processor gives %d values; the tower takes 3 x %d x %d",
          values.length, size, size);
    }
    return config.image(values);
  }

  @Override
  public ModelInput encode(List<Turn> turns, List<ModelImage> images, boolean withAnswers) {
    if (turns.isEmpty()) {
      throw GraceException.data("a conversation has no turn; allowed: one or more");
    }
    int[] counts = new int[turns.size()];
    int named = 0;
    for (int i = 0; i < counts.length; i++) {
      String question = turns.get(i).question();
      counts[i] =
          (question.length() - question.replace(PLACEHOLDER, "").length()) / PLACEHOLDER.length();
      named += counts[i];
    }
    if (named == 0) {
      counts[0] = images.size();
    } else if (named != images.size()) {
      throw GraceException.data(
          "%d %s placeholders for %d images; allowed: one each, or none at all",
          named, PLACEHOLDER, images.size());
    }
    StringBuilder text = new StringBuilder();
    List<Tokenizer.Span> answers = new ArrayList<>();
    for (int i = 0; i < turns.size(); i++) {
      String question = turns.get(i).question().replace(PLACEHOLDER, "");
      text.append("USER: ").append((PLACEHOLDER + "\n").repeat(counts[i]));
      text.append(plain(counts[i] > 0 || i == 0 ? question.strip() : question)).append(ASSISTANT);
      if (withAnswers || i < turns.size() - 1) {
        int start = text.codePointCount(0, text.length());
        text.append(' ').append(plain(turns.get(i).answer().strip())).append(END);
        answers.add(new Tokenizer.Span(start, text.codePointCount(0, text.length())));
      }
    }
    Tokenizer.Encoded encoded = tokenizer.encode(text.toString(), answers);
    return ModelInput.expanded(encoded.ids(), encoded.inSpans(), config.imageToken(), images);
  }

  @Override
  public long[] ids(String text) {
    return tokenizer.ids(plain(text));
  }

  @Override
  public String decode(int[] ids) {
    return tokenizer.decode(ids);
  }

  @Override
  public void close() {
    tokenizer.close();
  }

  private static String plain(String text) {
    return Tokenizer.withoutSpecial(text, SPECIAL);
  }
}
