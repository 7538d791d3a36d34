package io.gracebeam.transforms.scoring;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ExtractionTest {
  private static final List<String> ANIMALS = List.of("cat", "dog", "bird", "fish");

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "No.|no",
        "There is no cat|no",
        "Nope|yes",
        "NO|yes",
        "Not visible|yes",
        "Yes, it is not|no",
        "''|yes",
        "Yes. No|yes",
        "No, there is not|no",
        "no\u00a0cat|yes",
        "{\"answer\": \"no\"}|yes"
      })
  void popeReadsAsTheOfficialScript(String answer, String label) {
    assertThat(Pope.parse(answer)).isEqualTo(label);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "A|A",
        "B.|B",
        "(C)|C",
        "The answer is D|D",
        "I think it is a dog|B",
        "It could be A or B|",
        "A cat|A",
        "A big cat|A",
        "The correct answer is **B**. Here is why: A is wrong|B",
        "a|",
        "cat|A",
        "CAT|A",
        "dog and cat|",
        "Answer:B|B",
        "**B**|B",
        "B)|B",
        "<B>|",
        "'\"B\"'|",
        "Z|Z",
        "None|",
        "Cannot determine the answer|Z",
        "C because the bird flies away over there now|",
        "I would say it is A|A",
        "B\u2003is right|B",
        "\uff22|"
      })
  void mmBenchReadsByTheRules(String answer, String letter) {
    assertThat(MmBench.extract(answer, ANIMALS)).isEqualTo(Optional.ofNullable(letter));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "B|B|B",
        "B. cat|B|B",
        "B.cat||B",
        "b||B",
        "The answer is B.|B|",
        "The answer is A. The answer is B.||",
        "E|E|E",
        "''||",
        "' B '|B|B",
        "cat||"
      })
  void scienceQaReadsAsLlavaAndAsLmmsEval(String answer, String llava, String lmms) {
    assertThat(ScienceQa.extract(answer, ScienceQa.Extractor.LLAVA))
        .isEqualTo(Optional.ofNullable(llava));
    assertThat(ScienceQa.extract(answer, ScienceQa.Extractor.LMMS_EVAL))
        .isEqualTo(Optional.ofNullable(lmms));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {"Cat.|cat", "' red  circle '|red circle", "3|3", "CAF\u00c9|caf\u00e9", ".|''"})
  void openAnswersAreNormalized(String answer, String normal) {
    assertThat(OpenAnswers.normal(answer)).isEqualTo(normal);
  }

  @Test
  void hugeAnswersAreRead() {
    String huge = "x ".repeat(100_000);
    assertThat(MmBench.extract(huge, ANIMALS)).isEmpty();
    assertThat(ScienceQa.extract(huge, ScienceQa.Extractor.LLAVA)).isEmpty();
    assertThat(Pope.parse(huge + "no")).isEqualTo("no");
  }
}
