package io.gracebeam.proto.stage;

import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * One input of a kind of stage.
 *
 * @param names the role's name, or the names of which a task gives at least one
 * @param required whether a task must give it
 * @param numbered whether the name is the prefix of any number of roles, such as {@code shard-0},
 *     {@code shard-1}
 */
public record InputRole(List<String> names, boolean required, boolean numbered) {

  /** Keeps a copy of the names. */
  public InputRole {
    names = List.copyOf(names);
  }

  /** An input that every task gives. */
  public static InputRole required(String name) {
    return new InputRole(List.of(name), true, false);
  }

  /** An input that a task may give. */
  public static InputRole optional(String name) {
    return new InputRole(List.of(name), false, false);
  }

  /** At least one of several inputs. */
  public static InputRole oneOf(String... names) {
    return new InputRole(List.of(names), true, false);
  }

  /** One or more inputs with this prefix and a number behind it. */
  public static InputRole numbered(String prefix) {
    return new InputRole(List.of(prefix), true, true);
  }

  /** Whether a role of a task is this input. */
  boolean matches(String role) {
    return numbered
        ? Pattern.matches(Pattern.quote(names.get(0)) + "[0-9]{1,9}", role)
        : names.contains(role);
  }

  /** Whether a task's roles lack this input. */
  boolean missing(Set<String> roles) {
    return required && roles.stream().noneMatch(this::matches);
  }

  /** As messages show it: {@code 'trained' or 'model'}, {@code 'shard-0'}. */
  @Override
  public String toString() {
    return names.stream()
        .map(name -> "'" + name + (numbered ? "0'" : "'"))
        .collect(Collectors.joining(" or "));
  }
}
