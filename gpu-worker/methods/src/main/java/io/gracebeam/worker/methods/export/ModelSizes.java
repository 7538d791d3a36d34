package io.gracebeam.worker.methods.export;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.methods.model.LlavaConfig;
import io.gracebeam.worker.methods.model.Part;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Sizes of a model's parts.
 *
 * @param decoder the decoder's
 * @param tied whether its head is the table of embeddings
 * @param vision linears of the vision tower
 * @param projector linears between tower and decoder
 * @param rest numbers outside of the decoder that are no linear's weight: biases, norms, patches;
 *     not the table of embeddings
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

  /** Names that {@link #named} knows. */
  public static final List<String> NAMES = List.of("llava-1.5-7b", "qwen2-vl-2b");

  /**
   * Sizes by config.json.
   *
   * @throws GraceException data, where it is no LLaVA's
   */
  static ModelSizes of(Path folder) {
    return of(LlavaConfig.read(folder), numberBits(folder));
  }

  static ModelSizes of(LlavaConfig config, int numberBits) {
    LlavaConfig.Text t = config.text();
    List<Linear> vision = new ArrayList<>();
    List<Linear> projector = new ArrayList<>();
    long rest = 0;
    for (Map.Entry<String, long[]> e : config.parameterShapes().entrySet()) {
      long[] shape = e.getValue();
      Optional<Part> part = Part.of(e.getKey());
      if (part.isPresent()) {
        Linear linear = new Linear(1, (int) shape[0], (int) (shape.length > 1 ? shape[1] : 1));
        switch (part.get()) {
          case VISION -> vision.add(linear);
          case PROJECTOR -> projector.add(linear);
          case DECODER, HEAD -> {}
        }
      } else if (!e.getKey().startsWith("language_model.model.layers.")
          && !e.getKey().equals("language_model.model.norm.weight")
          && !e.getKey().endsWith(".embed_tokens.weight")) {
        long count = 1;
        for (long n : shape) {
          count = Math.multiplyExact(count, n);
        }
        rest += count;
      }
    }
    DecoderShape decoder = PackedModel.shape(t);
    return new ModelSizes(decoder, config.tied(), vision, projector, rest, numberBits);
  }

  /** A config.json that says nothing means float32, as transformers reads it. */
  private static int numberBits(Path folder) {
    JsonNode root;
    try {
      root = new ObjectMapper().readTree(Files.readAllBytes(folder.resolve("config.json")));
    } catch (IOException e) {
      throw GraceException.data("config.json: cannot be read").withCause(e);
    }
    String type = root.path("dtype").asText(root.path("torch_dtype").asText("float32"));
    return type.equals("bfloat16") || type.equals("float16") ? 16 : 32;
  }

  /**
   * Sizes of a published model, numbers in bfloat16.
   *
   * @throws GraceException user, for another name
   */
  public static ModelSizes named(String name) {
    return switch (name) {
      case "llava-1.5-7b" -> llava7b();
      case "qwen2-vl-2b" -> qwen2b();
      default -> throw GraceException.user("--shape is '%s'; allowed: %s", name, NAMES);
    };
  }

  /**
   * Numbers of the table of embeddings, of which a token needs one row: it stays in its file. None,
   * where it is the head, which is multiplied as a whole.
   */
  public long table() {
    return tied ? 0 : (long) decoder.vocab() * decoder.width();
  }

  /** The same model with fewer layers of the decoder; all, if it has no more than that. */
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

  private static ModelSizes llava7b() {
    LlavaConfig config =
        new LlavaConfig(
            new LlavaConfig.Vision(336, 14, 1024, 24, 16, 4096, 768, 1e-5),
            new LlavaConfig.Text(32064, 4096, 32, 32, 32, 128, 11008, 4096, 1e-5, 10000),
            32000,
            576,
            -2,
            true,
            1,
            2,
            32001,
            true,
            false);
    return of(config, 16);
  }

  /**
   * Qwen2-VL-2B: a tower of 32 blocks of width 1280 with queries, keys and values in one matrix; a
   * merger of 2 x 2 patches; the head is the table of embeddings.
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
