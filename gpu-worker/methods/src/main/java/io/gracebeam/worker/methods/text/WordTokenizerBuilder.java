package io.gracebeam.worker.methods.text;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Makes a word-level tokenizer of the words in given texts, for models that are trained from
 * scratch.
 */
public final class WordTokenizerBuilder {
  private static final String IMAGE = "<image>";

  /** Special tokens; their ids are their places in this list. */
  public static final String[] SPECIAL = {"<unk>", "<s>", "</s>", IMAGE, "<pad>"};

  /** Id of the unknown word. */
  public static final int UNKNOWN = 0;

  /** Id that starts a sequence. */
  public static final int BOS = 1;

  /** Id that ends an answer. */
  public static final int EOS = 2;

  /** Id of the image placeholder. */
  public static final int IMAGE_TOKEN = 3;

  /** Id of padding. */
  public static final int PAD = 4;

  private static final Pattern WORD =
      Pattern.compile("\\w+|[^\\w\\s]+", Pattern.UNICODE_CHARACTER_CLASS);

  private WordTokenizerBuilder() {}

  /**
   * Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json. Words are sorted, so
   * the same texts in any order give the same bytes.
   *
   * @param template words that a conversation template adds to the texts
   * @return the size of the vocabulary
   */
  public static int write(Path dir, String template, Collection<String> texts) {
    TreeSet<String> words = new TreeSet<>();
    addWords(words, template);
    for (String text : texts) {
      addWords(words, text.replace(IMAGE, " "));
    }
    ObjectMapper json = new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);
    ObjectNode root = json.createObjectNode();
    root.put("version", "1.0");
    root.putNull("truncation");
    root.putNull("padding");
    ArrayNode added = root.putArray("added_tokens");
    ObjectNode vocab = json.createObjectNode();
    for (int i = 0; i < SPECIAL.length; i++) {
      added
          .addObject()
          .put("id", i)
          .put("content", SPECIAL[i])
          .put("single_word", false)
          .put("lstrip", false)
          .put("rstrip", false)
          .put("normalized", false)
          .put("special", true);
      vocab.put(SPECIAL[i], i);
    }
    words.forEach(word -> vocab.put(word, vocab.size()));
    root.putNull("normalizer");
    root.putObject("pre_tokenizer").put("type", "Whitespace");
    ObjectNode post = root.putObject("post_processor").put("type", "TemplateProcessing");
    ArrayNode single = post.putArray("single");
    single.addObject().putObject("SpecialToken").put("id", "<s>").put("type_id", 0);
    single.addObject().putObject("Sequence").put("id", "A").put("type_id", 0);
    ArrayNode pair = post.putArray("pair");
    pair.addObject().putObject("Sequence").put("id", "A").put("type_id", 0);
    pair.addObject().putObject("Sequence").put("id", "B").put("type_id", 1);
    ObjectNode start = post.putObject("special_tokens").putObject("<s>").put("id", "<s>");
    start.putArray("ids").add(BOS);
    start.putArray("tokens").add("<s>");
    root.putObject("decoder").put("type", "WordPiece").put("prefix", "##").put("cleanup", true);
    ObjectNode model = root.putObject("model").put("type", "WordLevel");
    model.set("vocab", vocab);
    model.put("unk_token", "<unk>");
    ObjectNode special = json.createObjectNode();
    special
        .put("bos_token", "<s>")
        .put("eos_token", "</s>")
        .put("unk_token", "<unk>")
        .put("pad_token", "<pad>");
    ObjectNode config = special.deepCopy();
    config.put("tokenizer_class", "PreTrainedTokenizerFast");
    config.put("image_token", IMAGE);
    config.put("padding_side", "right");
    config.put("clean_up_tokenization_spaces", false);
    try {
      Files.createDirectories(dir);
      Files.write(dir.resolve("tokenizer.json"), json.writeValueAsBytes(root));
      Files.write(dir.resolve("tokenizer_config.json"), json.writeValueAsBytes(config));
      Files.write(dir.resolve("special_tokens_map.json"), json.writeValueAsBytes(special));
    } catch (IOException e) {
      throw GraceException.environment("the tokenizer could not be written (%s)", e.getMessage())
          .withCause(e);
    }
    return vocab.size();
  }

  private static void addWords(TreeSet<String> words, String text) {
    Matcher matcher = WORD.matcher(text);
    while (matcher.find()) {
      words.add(matcher.group());
    }
  }
}
