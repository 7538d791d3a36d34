package io.gracebeam.proto.plugin;

import static java.util.Objects.requireNonNull;

import io.gracebeam.proto.error.GraceException;
import java.util.Collection;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;
import java.util.Set;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * The implementations of one service that {@link ServiceLoader} finds, each under one or more
 * names.
 *
 * <p>A registry holds what was found when it was made and keeps no static state: make one where it
 * is needed, or keep it in a field of the class that owns it. The order of the class path leaves no
 * trace, since everything is sorted by name.
 *
 * @param <T> the service
 */
public final class Plugins<T> {
  private final String what;
  private final SortedMap<String, T> byName;

  private Plugins(String what, SortedMap<String, T> byName) {
    this.what = what;
    this.byName = byName;
  }

  /**
   * Finds all implementations of {@code service} with the class loader of {@code service}.
   *
   * @param service interface or class that plug-ins implement
   * @param what what a plug-in is called in messages, for instance {@code "model family"}
   * @param names the names of a plug-in, at least one
   * @throws GraceException (environment) where a plug-in cannot be loaded, has no name, or has the
   *     name of another
   */
  public static <T> Plugins<T> load(
      Class<T> service, String what, Function<? super T, ? extends Collection<String>> names) {
    return load(service, what, names, service.getClassLoader());
  }

  /** Finds implementations as the other {@code load} does, but with {@code loader}. */
  public static <T> Plugins<T> load(
      Class<T> service,
      String what,
      Function<? super T, ? extends Collection<String>> names,
      ClassLoader loader) {
    TreeMap<String, T> byName = new TreeMap<>();
    try {
      for (T plugin : ServiceLoader.load(service, loader)) {
        add(byName, what, plugin, names.apply(plugin));
      }
    } catch (ServiceConfigurationError | LinkageError error) {
      throw GraceException.environment(
              "%s: a plug-in cannot be loaded: %s; allowed: classes that META-INF/services/%s names"
                  + " and that this Java can load",
              what, reason(error), service.getName())
          .withCause(error);
    }
    return new Plugins<>(what, byName);
  }

  /**
   * The plug-in of this name.
   *
   * @throws GraceException (user) for an unknown name; the message lists all names
   */
  public T get(String name) {
    return find(name)
        .orElseThrow(
            () ->
                GraceException.user(
                    "%s: '%s' is unknown; allowed: %s",
                    what, name, byName.isEmpty() ? "none is there" : listed()));
  }

  /** The plug-in of this name; empty where there is none. */
  public Optional<T> find(String name) {
    return Optional.ofNullable(byName.get(requireNonNull(name)));
  }

  /** All names, sorted. */
  public SortedSet<String> names() {
    return new TreeSet<>(byName.keySet());
  }

  /** All plug-ins, each once, in the order of their first names. */
  public List<T> all() {
    Set<T> distinct = new LinkedHashSet<>(byName.values());
    return List.copyOf(distinct);
  }

  private String listed() {
    return byName.keySet().stream().collect(Collectors.joining(", "));
  }

  private static <T> void add(
      SortedMap<String, T> byName, String what, T plugin, Collection<String> names) {
    Iterator<String> each = names.iterator();
    if (!each.hasNext()) {
      throw GraceException.environment(
          "%s: plug-in %s has no name", what, plugin.getClass().getName());
    }
    while (each.hasNext()) {
      String name = each.next();
      if (name == null || name.isBlank()) {
        throw GraceException.environment(
            "%s: plug-in %s has a blank name", what, plugin.getClass().getName());
      }
      T other = byName.putIfAbsent(name, plugin);
      if (other != null) {
        throw GraceException.environment(
            "%s: two plug-ins have the name '%s': %s and %s; allowed: one of them on the class"
                + " path",
            what, name, other.getClass().getName(), plugin.getClass().getName());
      }
    }
  }

  private static String reason(Throwable error) {
    Throwable cause = error.getCause();
    return cause == null ? error.toString() : error.getMessage() + " (" + cause + ")";
  }
}
