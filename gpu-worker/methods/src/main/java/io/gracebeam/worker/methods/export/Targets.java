package io.gracebeam.worker.methods.export;

import io.gracebeam.proto.error.GraceException;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * Which group of a compressed-tensors configuration a module belongs to: names and regular
 * expressions before the class, in alphabetical order, as that library sorts them.
 */
final class Targets {
  /** The class of modules that most groups name. */
  static final String LINEAR = "Linear";

  private static final String REGEX = "re:";
  private static final int MOST_STEPS = 100_000;

  private Targets() {}

  /**
   * The group of a module.
   *
   * @param module canonical name
   * @throws GraceException data, if no group targets it, or a target is no regular expression
   */
  static Scheme.Group find(List<Scheme.Group> groups, String module) {
    return first(groups, t -> !t.startsWith(REGEX) && t.equals(module))
        .or(() -> first(groups, t -> t.startsWith(REGEX) && matches(t, module)))
        .or(() -> first(groups, t -> t.equals(LINEAR)))
        .orElseThrow(
            () ->
                GraceException.data(
                    "%s is packed, but no group of config.json's quantization_config targets it",
                    module));
  }

  private static Optional<Scheme.Group> first(
      List<Scheme.Group> groups, Predicate<String> matching) {
    record Found(String target, Scheme.Group group) {}
    return groups.stream()
        .flatMap(g -> g.targets().stream().filter(matching).map(t -> new Found(t, g)))
        .min(Comparator.comparing(Found::target))
        .map(Found::group);
  }

  private static boolean matches(String target, String module) {
    String regex = target.substring(REGEX.length());
    try {
      return Pattern.compile(regex).matcher(new Bounded(module, new int[1])).lookingAt();
    } catch (PatternSyntaxException | StackOverflowError | Exhausted e) {
      throw GraceException.data(
              "config.json: the target '%s' is no regular expression that can be used", target)
          .withCause(e);
    }
  }

  private static final class Exhausted extends RuntimeException {
    private static final long serialVersionUID = 1;
  }

  /** A text that may be looked at so often: an expression of a file must not search for ever. */
  private record Bounded(CharSequence text, int[] steps) implements CharSequence {
    @Override
    public char charAt(int index) {
      if (++steps[0] > MOST_STEPS) {
        throw new Exhausted();
      }
      return text.charAt(index);
    }

    @Override
    public int length() {
      return text.length();
    }

    @Override
    public CharSequence subSequence(int start, int end) {
      return text.subSequence(start, end);
    }

    @Override
    public String toString() {
      return text.toString();
    }
  }
}
