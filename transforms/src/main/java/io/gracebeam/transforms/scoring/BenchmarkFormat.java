package io.gracebeam.transforms.scoring;

import io.gracebeam.proto.plugin.Plugins;
import java.util.List;

/**
 * A benchmark format: how its files become questions and how answers are scored. A plug-in, found
 * by {@link java.util.ServiceLoader} under {@link #name}, without state, with a public constructor
 * without parameters.
 */
public interface BenchmarkFormat {
  /** Longest answer, in tokens, of a format that does not say otherwise. */
  int MAX_NEW_TOKENS = 32;

  /** Name in recipes, for instance {@code pope}; lower-case letters, digits, dots and hyphens. */
  String name();

  /** How its questions become prompts. */
  default PromptStyle promptStyle() {
    return PromptStyle.PLAIN;
  }

  /** Longest answer in tokens, where the recipe says nothing. */
  default int maxNewTokens() {
    return MAX_NEW_TOKENS;
  }

  /**
   * Reads a benchmark.
   *
   * @param files where its files are
   * @param style how its questions become prompts
   * @throws io.gracebeam.proto.error.GraceException (data) for a missing or damaged file; names
   *     file, place and what is allowed
   */
  Benchmark read(BenchmarkFiles files, PromptStyle style);

  /** The rule by which answers are scored. */
  Scorer scorer();

  /**
   * All formats on the class path.
   *
   * @throws io.gracebeam.proto.error.GraceException (environment) for two of one name, or one that
   *     cannot be loaded
   */
  static Plugins<BenchmarkFormat> all() {
    return Plugins.load(
        BenchmarkFormat.class, "benchmark format", format -> List.of(format.name()));
  }
}
