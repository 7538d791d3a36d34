package io.gracebeam.worker.methods.data;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineArrays;
import io.gracebeam.worker.methods.image.ImageProcessor;
import io.gracebeam.worker.methods.model.LlavaConfig;
import io.gracebeam.worker.methods.text.ChatTokenizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Turns examples into tokens and pixels. Both are kept: tokens as they are, pixels as one byte per
 * value, which loses nothing since they come from 8-bit images by one affine map per channel. A bad
 * example is remembered with its reason and left out.
 */
public final class BatchMaker {
  private final Dataset dataset;
  private final ChatTokenizer tokenizer;
  private final ImageProcessor processor;
  private final LlavaConfig config;
  private final Map<Integer, Item> items = new HashMap<>();
  private final Map<Integer, PixelCache> pixels = new HashMap<>();
  private final TreeMap<Integer, String> bad = new TreeMap<>();

  /** A maker with the tokenizer and processor of a model folder. */
  public BatchMaker(Dataset dataset, Path modelFolder, LlavaConfig config) {
    this.dataset = dataset;
    this.tokenizer = ChatTokenizer.load(modelFolder);
    this.processor = ImageProcessor.load(modelFolder);
    this.config = config;
  }

  /** Reasons why examples were left out, by index. */
  public Map<Integer, String> bad() {
    return bad;
  }

  /**
   * The tokenized example, its image checked too.
   *
   * @throws GraceException data, if the example is bad
   */
  public Item item(int index) {
    Item item = items.get(index);
    if (item == null) {
      item = tokenize(index);
      image(index);
      items.put(index, item);
    }
    return item;
  }

  /** Whether an example can be used; remembers why not. */
  public boolean usable(int index) {
    if (bad.containsKey(index)) {
      return false;
    }
    try {
      item(index);
      return true;
    } catch (GraceException e) {
      if (e.category() != Category.DATA) {
        throw e;
      }
      bad.put(index, e.getMessage());
      return false;
    }
  }

  /** Pixels [B, 3, H, W] of examples. */
  public NDArray pixels(NDManager manager, int[] indices) {
    return pixels(manager, Arrays.stream(indices).mapToObj(this::image).toList(), config);
  }

  /** Pixels [B, 3, H, W] of images. */
  public static NDArray pixels(NDManager manager, List<PixelCache> images, LlavaConfig config) {
    int size = config.vision().imageSize();
    float[] all = new float[images.size() * 3 * size * size];
    for (int i = 0; i < images.size(); i++) {
      images.get(i).into(all, i * 3 * size * size);
    }
    return EngineArrays.of(manager, all, new Shape(images.size(), 3, size, size));
  }

  /** Ids [B][S] of items, right padded. */
  public long[][] ids(List<Item> batch) {
    return ids(batch, config);
  }

  /** Ids [B][S] of items, right padded with the model's padding token. */
  public static long[][] ids(List<Item> batch, LlavaConfig config) {
    int length = batch.stream().mapToInt(i -> i.ids().length).max().orElse(0);
    long[][] out = new long[batch.size()][];
    for (int i = 0; i < out.length; i++) {
      long[] own = batch.get(i).ids();
      out[i] = Arrays.copyOf(own, length);
      Arrays.fill(out[i], own.length, length, Math.max(0, config.padToken()));
    }
    return out;
  }

  /** The pixels of an example's image, kept from the first call on. */
  public PixelCache image(int index) {
    PixelCache p = pixels.get(index);
    if (p == null) {
      int size = config.vision().imageSize();
      float[] values = processor.process(dataset.image(index));
      if (values.length != 3 * size * size) {
        throw GraceException.data(
            "the image processor gives %d values; the tower takes 3 x %d x %d",
            values.length, size, size);
      }
      p = PixelCache.of(values);
      pixels.put(index, p);
    }
    return p;
  }

  private Item tokenize(int index) {
    Dataset.Example e = dataset.example(index);
    List<ChatTokenizer.Turn> turns = new ArrayList<>();
    for (Dataset.Exchange x : e.exchanges()) {
      turns.add(new ChatTokenizer.Turn(x.question(), x.answer()));
    }
    ChatTokenizer.Encoded encoded = tokenizer.encode(turns, true);
    long[] ids = new long[encoded.ids().length + config.imageTokens()];
    boolean[] mask = new boolean[ids.length];
    int n = 0;
    int images = 0;
    for (int i = 0; i < encoded.ids().length; i++) {
      int copies = 1;
      if (encoded.ids()[i] == config.imageToken()) {
        copies = images++ == 0 ? config.imageTokens() : 1;
      }
      if (n + copies > ids.length) {
        break;
      }
      Arrays.fill(ids, n, n + copies, encoded.ids()[i]);
      mask[n] = encoded.labels()[i];
      n += copies;
    }
    if (images != 1) {
      throw GraceException.data(
          "example %s: %d <image> placeholders; allowed is exactly 1", e.id(), images);
    }
    return item(e.id(), Arrays.copyOf(ids, n), mask);
  }

  private static Item item(String id, long[] ids, boolean[] mask) {
    int count = 0;
    for (int i = 1; i < ids.length; i++) {
      count += mask[i] ? 1 : 0;
    }
    if (count == 0) {
      throw GraceException.data("example %s: no answer token to learn from", id);
    }
    int[] rows = new int[count];
    int[] targets = new int[count];
    int[] answers = new int[count];
    int at = 0;
    int answer = -1;
    for (int i = 1; i < ids.length; i++) {
      if (mask[i]) {
        answer += mask[i - 1] ? 0 : 1;
        rows[at] = i - 1;
        targets[at] = (int) ids[i];
        answers[at++] = answer;
      }
    }
    return new Item(id, ids, rows, targets, answers);
  }
}
