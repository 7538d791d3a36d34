package io.gracebeam.worker.methods.family;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.plugin.Plugins;
import java.util.List;

/** The model families that there are. */
public final class Families {
  private final Plugins<ModelFamily> plugins;

  private Families(Plugins<ModelFamily> plugins) {
    this.plugins = plugins;
  }

  /**
   * Finds all families.
   *
   * @throws GraceException environment, where one cannot be loaded, or two claim one model_type
   */
  public static Families find() {
    return find(ModelFamily.class.getClassLoader());
  }

  /** Finds the families that a class loader sees. */
  static Families find(ClassLoader loader) {
    return new Families(
        Plugins.load(ModelFamily.class, "model family", ModelFamily::modelTypes, loader));
  }

  /**
   * The family of a {@code model_type}.
   *
   * @throws GraceException user, for an unknown one; the message lists those that there are
   */
  public ModelFamily get(String modelType) {
    return plugins.get(modelType);
  }

  /**
   * The family that starting models are made of.
   *
   * @param name a model_type; empty for the default
   * @throws GraceException user, for an unknown one, or where no family is the default
   */
  public ModelFamily starting(String name) {
    if (!name.isEmpty()) {
      return get(name);
    }
    List<ModelFamily> found = all().stream().filter(ModelFamily::isDefault).toList();
    if (found.size() != 1) {
      throw GraceException.user(
          "model family: %d are the default; name one of %s", found.size(), plugins.names());
    }
    return found.getFirst();
  }

  /** All families, in the order of their model_types. */
  public List<ModelFamily> all() {
    return plugins.all();
  }
}
