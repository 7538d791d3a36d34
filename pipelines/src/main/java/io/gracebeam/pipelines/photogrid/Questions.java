package io.gracebeam.pipelines.photogrid;

import io.gracebeam.transforms.scoring.PromptStyle;
import io.gracebeam.transforms.statistics.CounterRng;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/** Asks about a grid, in natural language. */
final class Questions {
  /** Cue in a question after which the answer gives its reason. */
  static final String EXPLAIN = " Explain.";

  /**
   * A question with its answer.
   *
   * @param type open, yesno, count, choice or relation
   * @param text the question, without options
   * @param choices options A, B, ...; empty unless of type choice or a relation in the benchmarks
   * @param answer the right answer in words, or yes, no, or a number
   * @param reason why, one sentence; empty where there is nothing to say
   */
  record Item(String type, String text, List<String> choices, String answer, String reason) {
    int index() {
      return choices.indexOf(answer);
    }

    /** What the user says. */
    String prompt() {
      return choices.isEmpty() ? text : PromptStyle.PLAIN.letter("", text, choices);
    }

    /**
     * What the assistant says. The answer to a choice gives the option's text before its letter, in
     * ScienceQA's words: two short steps are easier to learn, and every official scorer reads them.
     */
    String reply() {
      return choices.isEmpty()
          ? answer
          : "%s. The answer is %c.".formatted(answer, (char) ('A' + index()));
    }
  }

  private final List<String> names;
  private final List<Groups.Group> groups;

  Questions(List<String> classes) {
    this.names = classes.stream().map(Groups::spoken).toList();
    this.groups = Groups.of(classes);
  }

  Item open(Grid grid, int cell) {
    return new Item(
        "open", "What is at the " + grid.place(cell) + "?", List.of(), name(grid, cell), "");
  }

  /** What is at a place, with four options (or as many as there are classes) in random order. */
  Item choice(Grid grid, int cell, CounterRng rng) {
    return options("choice", open(grid, cell), grid.labels()[cell], rng);
  }

  private Item options(String type, Item item, int label, CounterRng rng) {
    int n = Math.min(4, names.size());
    int[] others = IntStream.range(0, names.size()).filter(l -> l != label).toArray();
    rng.shuffle(others);
    int right = rng.nextInt(n);
    List<String> choices = new ArrayList<>();
    for (int i = 0, next = 0; i < n; i++) {
      choices.add(names.get(i == right ? label : others[next++]));
    }
    return new Item(type, item.text(), choices, item.answer(), item.reason());
  }

  /** Whether a class is there; the answer is yes half of the time where that is possible. */
  Item yesNo(Grid grid, CounterRng rng) {
    boolean yes = rng.nextInt(2) == 0;
    int[] fitting =
        IntStream.range(0, names.size()).filter(l -> (grid.count(l) > 0) == yes).toArray();
    int label = fitting.length == 0 ? grid.labels()[0] : fitting[rng.nextInt(fitting.length)];
    String name = names.get(label);
    boolean there = grid.count(label) > 0;
    String reason =
        there
            ? "There is " + article(name) + " at the " + grid.place(first(grid, label)) + "."
            : "There is no " + name + " at any place.";
    String text = "Is there " + article(name) + " in the image?";
    return new Item("yesno", text, List.of(), there ? "yes" : "no", reason);
  }

  private static int first(Grid grid, int label) {
    return IntStream.range(0, grid.cells())
        .filter(c -> grid.labels()[c] == label)
        .findFirst()
        .getAsInt();
  }

  Item count(Grid grid, CounterRng rng) {
    Groups.Group group = groups.get(rng.nextInt(groups.size()));
    List<String> where = new ArrayList<>();
    for (int c = 0; c < grid.cells(); c++) {
      if (group.members().get(grid.labels()[c])) {
        where.add(name(grid, c) + " at the " + grid.place(c));
      }
    }
    String reason = where.isEmpty() ? "There are none." : "There is " + join(where) + ".";
    String text = "How many " + group.plural() + " are there?";
    return new Item("count", text, List.of(), Integer.toString(where.size()), reason);
  }

  /** What is next to the only photo of a class; {@code null} where every class has several. */
  Item relation(Grid grid, CounterRng rng) {
    int[][] steps = {{0, 1}, {0, -1}, {1, 0}, {-1, 0}};
    String[] words = {"left of", "right of", "above", "below"};
    List<int[]> possible = new ArrayList<>();
    for (int c = 0; c < grid.cells(); c++) {
      for (int d = 0; d < steps.length; d++) {
        // The known photo lies one step from the asked cell c.
        int row = c / grid.size() + steps[d][0];
        int column = c % grid.size() + steps[d][1];
        boolean in = row >= 0 && row < grid.size() && column >= 0 && column < grid.size();
        int known = row * grid.size() + column;
        if (in && grid.count(grid.labels()[known]) == 1) {
          possible.add(new int[] {c, known, d});
        }
      }
    }
    if (possible.isEmpty()) {
      return null;
    }
    int[] pick = possible.get(rng.nextInt(possible.size()));
    String text = "What is " + words[pick[2]] + " the " + name(grid, pick[1]) + "?";
    return new Item(
        "relation",
        text,
        List.of(),
        name(grid, pick[0]),
        "The " + name(grid, pick[1]) + " is at the " + grid.place(pick[1]) + ".");
  }

  /** A relation with options; where there is none, a place with options. */
  Item relationChoice(Grid grid, CounterRng rng) {
    Item relation = relation(grid, rng);
    if (relation == null) {
      return choice(grid, rng.nextInt(grid.cells()), rng);
    }
    return options("relation", relation, names.indexOf(relation.answer()), rng);
  }

  private String name(Grid grid, int cell) {
    return names.get(grid.labels()[cell]);
  }

  private static String article(String name) {
    return ("aeiou".indexOf(name.charAt(0)) >= 0 ? "an " : "a ") + name;
  }

  private static String join(List<String> parts) {
    int last = parts.size() - 1;
    return last == 0
        ? parts.get(0)
        : String.join(", ", parts.subList(0, last)) + " and " + parts.get(last);
  }
}
