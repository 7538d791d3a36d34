package io.gracebeam.worker.methods.family;

import com.fasterxml.jackson.databind.JsonNode;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.ModelParameter;
import io.gracebeam.worker.methods.model.Part;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Sizes of a model's parts.
 *
 * @param decoder the decoder's
 * @param tied whether its head is the embedding table
 * @param vision linears of the vision tower
 * @param projector linears between tower and decoder
 * @param rest numbers outside of the decoder that are no linear's weight: biases, norms, patches;
 *     not the embedding table
 * @param numberBits of a number that is not quantized: 16 or 32
 */
public record ModelSizes(
    DecoderShape decoder,
    boolean tied,
    List<Linear> vision,
    List<Linear> projector,
    long rest,
    int numberBits) {

  /** Weights [rows, cols], {@code count} of them. */
  public record Linear(int count, int rows, int cols) {}

  private static final String QWEN2_VL_2B = "qwen2-vl-2b";

  /** Names that {@link #named} knows. */
  public static List<String> names() {
    return List.copyOf(published().keySet());
  }

  private static SortedMap<String, ModelSizes> published() {
    SortedMap<String, ModelSizes> out = new TreeMap<>();
    out.put(QWEN2_VL_2B, qwen2b());
    Families.find().all().forEach(family -> out.putAll(family.published()));
    return out;
  }

  /**
   * Sizes by config.json.
   *
   * @throws GraceException data, where it is wrong; user, where no family reads it
   */
  public static ModelSizes of(Path folder) {
    ConfigFile file = ConfigFile.read(folder);
    return of(Families.find().get(file.modelType()).read(file), numberBits(file));
  }

  /**
   * Sizes of a configuration.
   *
   * @param numberBits of a number that is not quantized: 16 or 32
   */
  public static ModelSizes of(ModelConfig config, int numberBits) {
    List<Linear> vision = new ArrayList<>();
    List<Linear> projector = new ArrayList<>();
    long rest = 0;
    for (ModelParameter p : config.parameters().all()) {
      Part part = p.place().part();
      boolean beside = part == Part.VISION || part == Part.PROJECTOR;
      if (beside && p.is(ModelParameter.Trait.LINEAR)) {
        (part == Part.VISION ? vision : projector)
            .add(new Linear(1, (int) p.shape()[0], (int) p.shape()[1]));
      } else if (beside) {
        rest += p.size();
      }
    }
    return new ModelSizes(
        config.text().shape(), config.tied(), vision, projector, rest, numberBits);
  }

  /** A config.json that says nothing means float32, as transformers reads it. */
  private static int numberBits(ConfigFile file) {
    JsonNode root = file.root();
    String type = root.path("dtype").asText(root.path("torch_dtype").asText("float32"));
    return type.equals("bfloat16") || type.equals("float16") ? 16 : 32;
  }

  /**
   * Sizes of a published model, numbers in bfloat16.
   *
   * @throws GraceException user, for another name
   */
  public static ModelSizes named(String name) {
    ModelSizes found = published().get(name);
    if (found == null) {
      throw GraceException.user("--shape is '%s'; allowed: %s", name, names());
    }
    return found;
  }

  /**
   * Numbers of the embedding table, of which a token needs one row: it stays in its file. None,
   * where it is the head, which is multiplied as a whole.
   */
  public long table() {
    return tied ? 0 : (long) decoder.vocab() * decoder.width();
  }

  /** This model with fewer layers of the decoder; all, if it has no more than that. */
  public ModelSizes layers(int most) {
    DecoderShape d = decoder;
    DecoderShape first =
        new DecoderShape(
            Math.min(most, d.layers()),
            d.width(),
            d.heads(),
            d.kvHeads(),
            d.headDim(),
            d.mlp(),
            d.vocab(),
            d.eps());
    return new ModelSizes(first, tied, vision, projector, rest, numberBits);
  }

  /**
   * Qwen2-VL-2B: a tower of 32 blocks of width 1280 with queries, keys and values in one matrix; a
   * merger of 2 x 2 patches; the head is the embedding table.
   */
  private static ModelSizes qwen2b() {
    int width = 1280;
    int blocks = 32;
    int merged = 4 * width;
    DecoderShape decoder = new DecoderShape(28, 1536, 12, 2, 128, 8960, 151936, 1e-6f);
    List<Linear> vision =
        List.of(
            new Linear(blocks, 3 * width, width),
            new Linear(blocks, width, width),
            new Linear(blocks, 4 * width, width),
            new Linear(blocks, width, 4 * width));
    List<Linear> projector =
        List.of(new Linear(1, merged, merged), new Linear(1, decoder.width(), merged));
    long patch = (long) width * 3 * 2 * 14 * 14;
    long biases = blocks * (3L + 1 + 4 + 1) * width + merged + decoder.width();
    long norms = (blocks * 4L + 2) * width;
    return new ModelSizes(decoder, true, vision, projector, patch + biases + norms, 16);
  }
}
