package io.gracebeam.pipelines.photogrid;

import java.util.ArrayList;
import java.util.List;

/**
 * Class-labeled photos of one size.
 *
 * @param side width and height of every photo, in pixels
 * @param classes class names, sorted
 * @param photos the photos by class and name, in order
 * @param deadLetters files that could not be used
 */
public record PhotoSet(
    int side, List<String> classes, List<Photo> photos, List<DeadLetter> deadLetters) {

  /**
   * One photo.
   *
   * @param name path of its file within the set
   * @param label index of its class
   * @param rgb side x side x 3 bytes, row-major, red first
   */
  @SuppressWarnings("ArrayRecordComponent")
  public record Photo(String name, int label, byte[] rgb) {}

  /**
   * A file that was left out.
   *
   * @param name path of the file within the set
   * @param reason what is wrong with it, one line
   */
  public record DeadLetter(String name, String reason) {}

  /** Copies the lists. */
  public PhotoSet {
    classes = List.copyOf(classes);
    photos = List.copyOf(photos);
    deadLetters = List.copyOf(deadLetters);
  }

  /** The photos of each class, as indices into {@link #photos}. */
  List<int[]> byClass() {
    List<List<Integer>> lists = new ArrayList<>();
    classes.forEach(c -> lists.add(new ArrayList<>()));
    for (int i = 0; i < photos.size(); i++) {
      lists.get(photos.get(i).label()).add(i);
    }
    return lists.stream().map(l -> l.stream().mapToInt(Integer::intValue).toArray()).toList();
  }
}
