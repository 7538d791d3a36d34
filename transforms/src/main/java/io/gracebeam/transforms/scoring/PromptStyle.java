package io.gracebeam.transforms.scoring;

/** How a question becomes a prompt. Part of what an evaluation result must name. */
public enum PromptStyle {
  /** The question and its lettered options alone. */
  PLAIN("", ""),
  /** With the instruction lines that LLaVA-1.5 appends. */
  LLAVA(
      "\nAnswer the question using a single word or phrase.",
      "\nAnswer with the option's letter from the given choices directly.");

  private final String shortSuffix;
  private final String letterSuffix;

  PromptStyle(String shortSuffix, String letterSuffix) {
    this.shortSuffix = shortSuffix;
    this.letterSuffix = letterSuffix;
  }

  /** The prompt of a question with a short answer. */
  public String shortAnswer(String question) {
    return question + shortSuffix;
  }

  /** The prompt of a multiple-choice question: hint line if any, question, "A. text" lines. */
  public String letter(String hint, String question, java.util.List<String> choices) {
    StringBuilder text = new StringBuilder();
    if (!hint.isBlank()) {
      text.append(hint).append('\n');
    }
    text.append(question);
    for (int i = 0; i < choices.size(); i++) {
      text.append('\n').append((char) ('A' + i)).append(". ").append(choices.get(i));
    }
    return text.append(letterSuffix).toString();
  }
}
