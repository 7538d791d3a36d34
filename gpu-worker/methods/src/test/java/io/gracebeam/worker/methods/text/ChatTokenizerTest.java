package io.gracebeam.worker.methods.text;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ChatTokenizerTest {
  @Test
  void labelsAnswersAndTheirEnd(@TempDir Path dir) {
    int vocab = WordTokenizerBuilder.write(dir, List.of("Is there a cat ?", "yes no, two cats"));
    try (ChatTokenizer tokenizer = ChatTokenizer.load(dir)) {
      var turns =
          List.of(
              new ChatTokenizer.Turn("<image>\nIs there a cat?", "yes"),
              new ChatTokenizer.Turn("there? <image></s>", "no, two cats"));
      var encoded = tokenizer.encode(turns, true);
      assertThat(encoded.ids()[0]).isEqualTo(WordTokenizerBuilder.BOS);
      assertThat(java.util.Arrays.stream(encoded.ids()).filter(id -> id == 3).count()).isEqualTo(1);
      assertThat(java.util.Arrays.stream(encoded.ids()).max().orElseThrow()).isLessThan(vocab);
      StringBuilder learned = new StringBuilder();
      for (int i = 0; i < encoded.ids().length; i++) {
        if (encoded.labels()[i]) {
          learned.append(
              encoded.ids()[i] == 2 ? "|" : " " + tokenizer.decode(new long[] {encoded.ids()[i]}));
        }
      }
      assertThat(learned.toString()).isEqualTo(" yes| no , two cats|");
      var open = tokenizer.encode(turns.subList(0, 1), false);
      assertThat(open.labels()).doesNotContain(true);
      assertThat(tokenizer.decode(tokenizer.ids("no, two cats"))).isEqualTo("no, two cats");
      assertThat(tokenizer.special("<image>")).isEqualTo(WordTokenizerBuilder.IMAGE_TOKEN);
    }
  }
}
