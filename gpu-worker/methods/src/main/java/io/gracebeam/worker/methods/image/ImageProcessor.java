package io.gracebeam.worker.methods.image;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * CLIP's preprocessing: RGB, bicubic resize of the shortest edge, center crop, scale to 0..1,
 * normalize. Equal to transformers' Pillow processor bit for bit, given equally decoded pixels.
 * Thread-safe.
 */
public final class ImageProcessor {
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT);
  private static final double[] MEAN = {0.48145466, 0.4578275, 0.40821073};
  private static final double[] STD = {0.26862954, 0.26130258, 0.27577711};
  private static final double SCALE = 1 / 255.0;

  private final int size;
  private final int crop;
  private final double scale;
  private final double[] mean;
  private final double[] std;

  private ImageProcessor(int size, int crop, double scale, double[] mean, double[] std) {
    this.size = size;
    this.crop = crop;
    this.scale = scale;
    this.mean = mean;
    this.std = std;
  }

  /** The CLIP processor for square inputs of the given side. */
  public static ImageProcessor of(int size) {
    return new ImageProcessor(size, size, SCALE, MEAN, STD);
  }

  /** Reads preprocessor_config.json, or the image_processor of processor_config.json. */
  public static ImageProcessor load(Path dir) {
    Path file = dir.resolve("preprocessor_config.json");
    boolean nested = !Files.exists(file);
    if (nested) {
      file = dir.resolve("processor_config.json");
    }
    try {
      if (!Files.exists(file)) {
        throw GraceException.data(
            "the model folder %s has no preprocessor_config.json or processor_config.json",
            dir.getFileName());
      }
      JsonNode root = JSON.readTree(Files.readAllBytes(file));
      JsonNode node = nested ? root.path("image_processor") : root;
      String name = String.valueOf(file.getFileName());
      int size = side(node.path("size"), "shortest_edge", name, "size");
      int crop = side(node.path("crop_size"), "height", name, "crop_size");
      if (node.path("resample").asInt(3) != 3) {
        throw GraceException.data(
            "%s: resample is %s; allowed: 3 (bicubic)", name, node.path("resample"));
      }
      if (crop > size) {
        throw GraceException.data("%s: crop_size %d is above size %d", name, crop, size);
      }
      return new ImageProcessor(
          size,
          crop,
          node.path("rescale_factor").asDouble(SCALE),
          triple(node.path("image_mean"), MEAN, name, "image_mean"),
          triple(node.path("image_std"), STD, name, "image_std"));
    } catch (IOException e) {
      throw GraceException.data("%s is not readable JSON", file.getFileName()).withCause(e);
    }
  }

  /**
   * Writes preprocessor_config.json for square inputs of the given side.
   *
   * @param processor transformers' class that uses it
   */
  public static void writeConfig(Path dir, String processor, int size) {
    ObjectNode root = JSON.createObjectNode();
    root.put("image_processor_type", "CLIPImageProcessor");
    root.put("processor_class", processor);
    root.put("do_convert_rgb", true);
    root.put("do_resize", true);
    root.putObject("size").put("shortest_edge", size);
    root.put("resample", 3);
    root.put("do_center_crop", true);
    root.putObject("crop_size").put("height", size).put("width", size);
    root.put("do_rescale", true);
    root.put("rescale_factor", SCALE);
    root.put("do_normalize", true);
    ArrayNode mean = root.putArray("image_mean");
    ArrayNode std = root.putArray("image_std");
    for (int i = 0; i < 3; i++) {
      mean.add(MEAN[i]);
      std.add(STD[i]);
    }
    try {
      Files.createDirectories(dir);
      Files.write(dir.resolve("preprocessor_config.json"), JSON.writeValueAsBytes(root));
    } catch (IOException e) {
      throw GraceException.environment(
              "preprocessor_config.json could not be written (%s)", e.getMessage())
          .withCause(e);
    }
  }

  /** Side of the processed image in pixels. */
  public int side() {
    return crop;
  }

  /**
   * Decodes and processes one image -> [3, side, side], flat.
   *
   * @throws GraceException DATA with the file's name for a missing, truncated or non-image file
   */
  public float[] process(Path image) {
    byte[] bytes = pixels(image);
    float[] out = new float[bytes.length];
    int plane = crop * crop;
    for (int c = 0; c < 3; c++) {
      for (int i = 0; i < plane; i++) {
        float scaled = (float) ((bytes[i * 3 + c] & 255) * scale);
        out[c * plane + i] = (scaled - (float) mean[c]) / (float) std[c];
      }
    }
    return out;
  }

  /** Resized and cropped 8-bit RGB pixels [side, side, 3]; errors as of {@link #process}. */
  public byte[] pixels(Path image) {
    RgbImage in = RgbImage.read(image);
    int shorter = Math.min(in.width(), in.height());
    int longer = Math.max(in.width(), in.height());
    int toLonger = Math.toIntExact((long) ((double) ((long) size * longer) / shorter));
    if ((long) size * toLonger > (64L << 20) || (long) shorter * toLonger > (64L << 20)) {
      throw GraceException.data(
          "image %s is %d x %d; allowed: a less extreme aspect ratio",
          image.getFileName(), in.width(), in.height());
    }
    int toWidth = in.width() <= in.height() ? size : toLonger;
    int toHeight = in.width() <= in.height() ? toLonger : size;
    byte[] resized = PillowResize.resize(in.rgb(), in.width(), in.height(), toWidth, toHeight);
    int top = (toHeight - crop) / 2;
    int left = (toWidth - crop) / 2;
    byte[] out = new byte[crop * crop * 3];
    for (int y = 0; y < crop; y++) {
      System.arraycopy(resized, ((top + y) * toWidth + left) * 3, out, y * crop * 3, crop * 3);
    }
    return out;
  }

  private static int side(JsonNode node, String key, String file, String what) {
    JsonNode value = node.isObject() ? node.path(key) : node;
    if (!value.isInt() || value.intValue() < 1 || value.intValue() > 4096) {
      throw GraceException.data("%s: %s is %s; allowed: %s of 1 to 4096", file, what, node, key);
    }
    return value.intValue();
  }

  private static double[] triple(JsonNode node, double[] fallback, String file, String what) {
    if (node.isMissingNode() || node.isNull()) {
      return fallback;
    }
    if (!node.isArray() || node.size() != 3) {
      throw GraceException.data("%s: %s is %s; allowed: three numbers", file, what, node);
    }
    return new double[] {node.get(0).asDouble(), node.get(1).asDouble(), node.get(2).asDouble()};
  }
}
