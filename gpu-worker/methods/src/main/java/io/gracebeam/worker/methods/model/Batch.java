package io.gracebeam.worker.methods.model;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Sequences that a model computes together. Plain data: no array of an engine is in it.
 *
 * @param ids token ids [B][S], right padded
 * @param lengths tokens of each example without padding
 * @param rows positions of each example whose next-token logits are wanted
 * @param images all images, each once, however many examples show it
 * @param places where images stand, in order of examples and their tokens
 * @param positions of the tokens
 * @param next position of the token that follows each example
 */
@SuppressWarnings("ArrayRecordComponent") // compared by nobody
public record Batch(
    long[][] ids,
    int[] lengths,
    int[][] rows,
    List<ModelImage> images,
    List<Place> places,
    Positions positions,
    int[] next) {

  /**
   * An image in an example.
   *
   * @param image number among the batch's images
   * @param start its first visual token in the example
   * @param tokens its visual tokens
   * @param row its first row among the visual rows of all images
   */
  public record Place(int example, int image, int start, int tokens, int row) {}

  /**
   * Makes a batch.
   *
   * @param rows wanted positions of each input
   * @param padding token id to pad with
   */
  public static Batch of(List<ModelInput> inputs, int[][] rows, int padding) {
    int length = inputs.stream().mapToInt(i -> i.ids().length).max().orElse(0);
    long[][] ids = new long[inputs.size()][];
    int[] lengths = new int[inputs.size()];
    Map<ModelImage, Integer> numbers = new LinkedHashMap<>();
    List<Integer> starts = new ArrayList<>();
    List<Place> places = new ArrayList<>();
    int visual = 0;
    for (int b = 0; b < ids.length; b++) {
      long[] own = inputs.get(b).ids();
      lengths[b] = own.length;
      ids[b] = Arrays.copyOf(own, length);
      Arrays.fill(ids[b], own.length, length, padding);
      for (ModelInput.Placed placed : inputs.get(b).images()) {
        ModelImage image = placed.image();
        Integer number = numbers.get(image);
        if (number == null) {
          number = numbers.size();
          numbers.put(image, number);
          starts.add(visual);
          visual += image.tokens();
        }
        places.add(new Place(b, number, placed.start(), image.tokens(), starts.get(number)));
      }
    }
    return new Batch(
        ids,
        lengths,
        rows,
        List.copyOf(numbers.keySet()),
        List.copyOf(places),
        positions(inputs, length),
        inputs.stream().mapToInt(ModelInput::next).toArray());
  }

  /** A batch of prompts, of which the logits behind the last token are wanted. */
  public static Batch prompts(List<ModelInput> inputs, int padding) {
    int[][] last = inputs.stream().map(i -> new int[] {i.ids().length - 1}).toArray(int[][]::new);
    return of(inputs, last, padding);
  }

  private static Positions positions(List<ModelInput> inputs, int length) {
    if (inputs.stream().allMatch(i -> i.positions() == null)) {
      return Positions.counting(length);
    }
    int axes =
        inputs.stream()
            .mapToInt(i -> i.positions() == null ? 1 : i.positions().length)
            .max()
            .orElseThrow();
    int[][][] out = new int[axes][inputs.size()][length];
    for (int b = 0; b < inputs.size(); b++) {
      int[][] own = inputs.get(b).positions();
      for (int a = 0; a < axes; a++) {
        for (int i = 0; i < inputs.get(b).ids().length; i++) {
          out[a][b][i] = own == null ? i : own[a < own.length ? a : 0][i];
        }
      }
    }
    return new Positions(out, false);
  }

  /** Number of examples. */
  public int size() {
    return ids.length;
  }

  /** Tokens of the longest example, to which the others are padded. */
  public int length() {
    return ids[0].length;
  }

  /** Rows of the batch's visual states: visual tokens of all places. */
  public int visualStates() {
    return places.stream().mapToInt(Place::tokens).sum();
  }

  /** Rows that the vision tower gives: visual tokens of all images. */
  public int visualRows() {
    return images.stream().mapToInt(ModelImage::tokens).sum();
  }

  /** Wanted rows in the flat sequence [B * S]. */
  long[] wanted() {
    long[] out = new long[Arrays.stream(rows).mapToInt(row -> row.length).sum()];
    int next = 0;
    for (int b = 0; b < rows.length; b++) {
      for (int row : rows[b]) {
        out[next++] = (long) b * length() + row;
      }
    }
    return out;
  }

  /** Visual positions in the flat sequence [B * S], in order of the places. */
  long[] visualPositions() {
    long[] out = new long[visualStates()];
    int next = 0;
    for (Place p : places) {
      for (int i = 0; i < p.tokens(); i++) {
        out[next++] = (long) p.example() * length() + p.start() + i;
      }
    }
    return out;
  }
}
