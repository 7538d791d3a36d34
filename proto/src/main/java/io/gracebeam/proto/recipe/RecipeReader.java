package io.gracebeam.proto.recipe;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.Variant;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Recipes as YAML: strictly in, fully resolved, deterministically out. Keys are the field names of
 * {@code recipe.proto}; a variant may be just the name of a preset.
 */
public final class RecipeReader {
  private RecipeReader() {}

  /**
   * Reads what the file says, without defaults.
   *
   * @throws GraceException (user) for an unknown or repeated key, a wrong type, or a value out of
   *     range; names file, line, key, value and what is allowed
   */
  public static Recipe read(Path yaml) {
    try {
      return parse(Files.readString(yaml), yaml.toString());
    } catch (CharacterCodingException e) {
      throw GraceException.user("%s: is not text; allowed: YAML in UTF-8", yaml).withCause(e);
    } catch (IOException e) {
      throw GraceException.user("%s: cannot be read; allowed: an existing recipe file", yaml)
          .withCause(e);
    }
  }

  /**
   * As {@link #read}, from text.
   *
   * @param source name for the errors
   */
  public static Recipe parse(String yaml, String source) {
    Recipe.Builder recipe = Recipe.newBuilder();
    new YamlMessages(source).merge(yaml, recipe);
    return recipe.build();
  }

  /**
   * Fills in every default and checks that the whole is possible. Resolving a resolved recipe
   * changes nothing.
   *
   * @throws GraceException (user) where a required key is missing, a value is out of range, or
   *     values contradict each other
   */
  public static Recipe resolve(Recipe recipe) {
    Recipe.Builder resolved = Defaults.RECIPE.toBuilder().mergeFrom(recipe);
    if (recipe.getSeedsCount() == 0) {
      resolved.addSeeds(1);
    }
    if (recipe.getVariantsCount() == 0) {
      for (String name : Defaults.VARIANTS) {
        if (!resolved.getModels().getTeacher().isEmpty()
            || !Variants.needsTeacher(Variants.preset(name))) {
          resolved.addVariants(Variant.newBuilder().setName(name));
        }
      }
    }
    for (Variant.Builder variant : resolved.getVariantsBuilderList()) {
      Variant full = Variants.resolve(variant.build(), resolved.getQuantization());
      variant.clear().mergeFrom(full);
    }
    Recipe result = resolved.build();
    RecipeChecks.check(result);
    return result;
  }

  /**
   * The recipe as YAML, fields in the order of the message, equal text for equal recipes; {@link
   * #read} gives it back.
   */
  public static String toYaml(Recipe recipe) {
    return YamlWriter.write(recipe);
  }
}
