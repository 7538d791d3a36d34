package io.gracebeam.proto.recipe;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;

/**
 * What an engine's settings may be where they come from a command line; a recipe's are the same.
 */
public final class EngineChecks {
  private static final String NAME = "name";

  private EngineChecks() {}

  /**
   * The settings, if each is allowed.
   *
   * @throws GraceException (user) for the first that is not, named as the option {@code --threads},
   *     {@code --device}, {@code --compute} or {@code --engine}
   */
  public static EngineSettings requireOptions(EngineSettings settings) {
    settings
        .getAllFields()
        .forEach(
            (field, value) ->
                Ranges.violation(field, value)
                    .ifPresent(
                        allowed -> {
                          throw GraceException.user(
                              "--%s: '%s' is not allowed; allowed: %s",
                              field.getName().equals(NAME) ? "engine" : field.getName(),
                              value,
                              allowed);
                        }));
    return settings;
  }
}
