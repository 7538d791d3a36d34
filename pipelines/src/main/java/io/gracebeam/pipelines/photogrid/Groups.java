package io.gracebeam.pipelines.photogrid;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** What can be counted in a grid: groups of classes, and how they are called. */
final class Groups {
  private static final Set<String> ANIMALS =
      Set.of(
          "bird",
          "cat",
          "deer",
          "dog",
          "frog",
          "horse",
          "cow",
          "sheep",
          "lion",
          "tiger",
          "bear",
          "fish",
          "rabbit",
          "monkey",
          "elephant",
          "mouse",
          "fox",
          "wolf");

  /** A group: its plural name and the classes in it. */
  record Group(String plural, BitSet members) {}

  private Groups() {}

  /** The class name in words: "red-circle" becomes "red circle". */
  static String spoken(String className) {
    return className.replace('-', ' ').replace('_', ' ');
  }

  /** Animals where some classes are; else shared last words (circles); else each class. */
  static List<Group> of(List<String> classes) {
    BitSet animals = new BitSet();
    TreeMap<String, BitSet> lastWords = new TreeMap<>();
    for (int i = 0; i < classes.size(); i++) {
      String spoken = spoken(classes.get(i));
      if (ANIMALS.contains(spoken)) {
        animals.set(i);
      }
      int blank = spoken.lastIndexOf(' ');
      if (blank >= 0) {
        lastWords.computeIfAbsent(spoken.substring(blank + 1), w -> new BitSet()).set(i);
      }
    }
    if (animals.cardinality() > 1) {
      return List.of(new Group("animals", animals));
    }
    List<Group> groups = new ArrayList<>();
    for (Map.Entry<String, BitSet> entry : lastWords.entrySet()) {
      if (entry.getValue().cardinality() > 1 && lastWords.size() > 1) {
        groups.add(new Group(plural(entry.getKey()), entry.getValue()));
      }
    }
    if (groups.isEmpty()) {
      for (int i = 0; i < classes.size(); i++) {
        BitSet one = new BitSet();
        one.set(i);
        groups.add(new Group(plural(spoken(classes.get(i))), one));
      }
    }
    return groups;
  }

  private static String plural(String word) {
    if (word.equals("deer") || word.equals("sheep") || word.endsWith("fish")) {
      return word;
    }
    boolean hiss =
        word.endsWith("s") || word.endsWith("x") || word.endsWith("ch") || word.endsWith("sh");
    return word + (hiss ? "es" : "s");
  }
}
