package io.gracebeam.transforms.stages;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.Variant;

/** What transforms read of a resolved recipe. */
final class Recipes {
  private Recipes() {}

  static Variant variant(String transform, Recipe recipe, String name) {
    return recipe.getVariantsList().stream()
        .filter(variant -> variant.getName().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                GraceException.user(
                    "%s: recipe %s has no variant '%s'; allowed: %s",
                    transform,
                    recipe.getName(),
                    name,
                    recipe.getVariantsList().stream().map(Variant::getName).toList()));
  }
}
