package io.gracebeam.worker.methods.data;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * A dataset folder: {@code train.json} (LLaVA conversations), {@code images/}, and, for tower
 * pre-training, {@code classes.json}. Examples keep the file's order; an example's index is its
 * identity in teacher caches.
 */
public final class Dataset {
  /** One question and its answer. */
  public record Exchange(String question, String answer) {}

  /**
   * One conversation.
   *
   * @param images paths relative to the dataset folder, in order of their placeholders; may be
   *     empty
   * @param types question type per exchange; empty if the file has none
   * @param cells class of each grid cell, row-major; empty if the file has none
   */
  public record Example(
      String id,
      List<String> images,
      List<Exchange> exchanges,
      List<String> types,
      List<String> cells) {}

  private final Path folder;
  private final List<Example> examples;
  private final List<String> classes;

  private Dataset(Path folder, List<Example> examples, List<String> classes) {
    this.folder = folder;
    this.examples = examples;
    this.classes = classes;
  }

  /**
   * Reads a dataset folder.
   *
   * @throws GraceException data, if train.json is missing, not JSON, or an entry lacks what it
   *     needs
   */
  public static Dataset open(Path folder) {
    Path file = folder.resolve("train.json");
    JsonNode root = json(file);
    if (!root.isArray() || root.isEmpty()) {
      throw GraceException.data("%s: expected a non-empty JSON list of conversations", name(file));
    }
    List<Example> examples = new ArrayList<>(root.size());
    for (JsonNode node : root) {
      examples.add(example(node, examples.size(), file));
    }
    List<String> classes = new ArrayList<>();
    Path classFile = folder.resolve("classes.json");
    if (Files.exists(classFile)) {
      for (JsonNode c : json(classFile)) {
        classes.add(c.asText());
      }
    }
    return new Dataset(folder, List.copyOf(examples), List.copyOf(classes));
  }

  /** Number of examples. */
  public int size() {
    return examples.size();
  }

  /** Example by index. */
  public Example example(int index) {
    return examples.get(index);
  }

  /** All examples, in file order. */
  public List<Example> examples() {
    return examples;
  }

  /** Cell classes in classes.json order; empty if absent. */
  public List<String> classes() {
    return classes;
  }

  /**
   * Image files of an example, in order.
   *
   * @throws GraceException data, if a path leaves the folder
   */
  public List<Path> images(int index) {
    List<Path> out = new ArrayList<>();
    for (String image : examples.get(index).images()) {
      Path p = folder.resolve(image).normalize();
      if (!p.startsWith(folder.normalize())) {
        throw GraceException.data(
            "example %s: image path '%s' leaves the dataset folder",
            examples.get(index).id(), image);
      }
      out.add(p);
    }
    return out;
  }

  /**
   * Indices of a logical shard: every {@code shards}-th example, beginning with {@code shard}.
   * Independent of workers and seeds.
   *
   * @throws GraceException user, if shard is not in [0, shards) or the shard is empty
   */
  public int[] shard(int shard, int shards) {
    if (shards < 1 || shard < 0 || shard >= shards || shard >= size()) {
      throw GraceException.user(
          "shard %d of %d: allowed are 0 to %d, with at most %d shards",
          shard, shards, Math.max(0, shards - 1), size());
    }
    int[] out = new int[(size() - shard + shards - 1) / shards];
    for (int i = 0; i < out.length; i++) {
      out[i] = shard + i * shards;
    }
    return out;
  }

  /**
   * The examples of one step: the stream of epoch permutations of {@code indices}, cut into
   * batches.
   *
   * @param step from 0, over the whole run
   */
  public static int[] batch(int[] indices, int batch, long seed, long step) {
    int[] out = new int[batch];
    long at = step * batch;
    long epoch = -1;
    int[] order = null;
    for (int i = 0; i < batch; i++) {
      long e = (at + i) / indices.length;
      if (e != epoch) {
        epoch = e;
        order = Hash.permutation(indices.length, seed, e);
      }
      out[i] = indices[order[(int) ((at + i) % indices.length)]];
    }
    return out;
  }

  private static Example example(JsonNode node, int index, Path file) {
    String id = node.path("id").asText(Integer.toString(index));
    JsonNode turns = node.path("conversations");
    List<String> images = images(node.path("image"));
    if (images.contains("") || !turns.isArray() || turns.isEmpty() || turns.size() % 2 != 0) {
      throw GraceException.data(
          "%s: example %s needs an even, non-zero number of \"conversations\"; \"image\" is a path,"
              + " a list of paths, or missing",
          name(file), id);
    }
    List<Exchange> exchanges = new ArrayList<>();
    for (int i = 0; i < turns.size(); i += 2) {
      JsonNode human = turns.get(i);
      JsonNode gpt = turns.get(i + 1);
      if (!human.path("from").asText().equals("human")
          || !gpt.path("from").asText().equals("gpt")
          || !human.path("value").isTextual()
          || !gpt.path("value").isTextual()) {
        throw GraceException.data(
            "%s: example %s: turn %d: allowed is \"human\" followed by \"gpt\", each with a text"
                + " \"value\"",
            name(file), id, i);
      }
      exchanges.add(new Exchange(human.get("value").asText(), gpt.get("value").asText()));
    }
    return new Example(
        id,
        images,
        List.copyOf(exchanges),
        strings(node.path("types")),
        strings(node.path("cells")));
  }

  /** One path, several, or none; an empty one stands for anything else. */
  private static List<String> images(JsonNode node) {
    if (node.isMissingNode() || node.isNull()) {
      return List.of();
    }
    if (!node.isArray()) {
      return List.of(node.isTextual() ? node.asText() : "");
    }
    List<String> out = new ArrayList<>();
    node.forEach(n -> out.add(n.isTextual() ? n.asText() : ""));
    return List.copyOf(out);
  }

  private static List<String> strings(JsonNode list) {
    List<String> out = new ArrayList<>();
    list.forEach(n -> out.add(n.asText()));
    return List.copyOf(out);
  }

  private static JsonNode json(Path file) {
    try {
      return new ObjectMapper().readTree(Files.readAllBytes(file));
    } catch (JsonProcessingException e) {
      throw GraceException.data("%s: not valid JSON: %s", name(file), e.getOriginalMessage())
          .withCause(e);
    } catch (IOException e) {
      throw GraceException.data("%s: cannot be read; a dataset folder needs it", file).withCause(e);
    }
  }

  private static String name(Path file) {
    return String.valueOf(file.getFileName());
  }
}
