package io.gracebeam.worker.methods.family;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.worker.methods.checkpoint.TensorNaming;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelConfig;
import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The registry of families, and what it refuses. */
class FamiliesTest {
  @TempDir Path dir;

  /** Claims a model_type that another family has. */
  public static class Twin implements ModelFamily {
    /** For the service loader. */
    public Twin() {}

    @Override
    public List<String> modelTypes() {
      return List.of("twin", "llava");
    }

    @Override
    public ModelConfig read(ConfigFile file) {
      throw GraceException.bug("not asked for");
    }

    @Override
    public TensorNaming tensors() {
      return TensorNaming.AS_IS;
    }

    @Override
    public InputMaker inputs(Path folder, ModelConfig config) {
      throw GraceException.bug("not asked for");
    }
  }

  /** Reads, but makes no models. */
  public static final class Reader extends Twin {
    /** For the service loader. */
    public Reader() {}

    @Override
    public List<String> modelTypes() {
      return List.of("reader");
    }
  }

  /** Families on the class path and one more. */
  private Families with(String className) throws IOException {
    Path services = Files.createDirectories(dir.resolve("META-INF/services"));
    Files.writeString(services.resolve(ModelFamily.class.getName()), className + "\n");
    ClassLoader parent = getClass().getClassLoader();
    try (URLClassLoader loader = new URLClassLoader(new URL[] {dir.toUri().toURL()}, parent)) {
      return Families.find(loader);
    }
  }

  private static void refused(Category category, String text, ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(category))
        .hasMessageContaining(text)
        .message()
        .doesNotContain("\n");
  }

  @Test
  void findsFamiliesByTheirModelTypes() throws IOException {
    assertThat(Families.find().get("llava").modelTypes()).containsExactly("llava");
    assertThat(Families.find().starting("").isDefault()).isTrue();
    Families more = with(Reader.class.getName());
    assertThat(more.get("reader")).isInstanceOf(Reader.class);
    assertThat(more.starting("")).isSameAs(more.get("llava"));
    refused(
        Category.USER,
        "cannot be made from scratch",
        () -> more.get("reader").start(ModelShape.getDefaultInstance(), List.of(), dir));
  }

  @Test
  void anUnknownModelTypeListsTheFamilies() throws IOException {
    Files.writeString(dir.resolve("config.json"), "{\"model_type\": \"bert\"}");
    refused(
        Category.USER,
        "model family: 'bert' is unknown; allowed: llava",
        () -> ModelFolder.open(dir));
    Files.writeString(dir.resolve("config.json"), "{}");
    refused(Category.DATA, "config.json has no model_type", () -> ModelFolder.open(dir));
    Files.writeString(dir.resolve("config.json"), "[1]");
    refused(Category.DATA, "config.json is not a JSON object", () -> ModelFolder.open(dir));
  }

  @Test
  void twoFamiliesOfOneModelTypeAreRefused() {
    refused(
        Category.ENVIRONMENT,
        "two plug-ins have the name 'llava'",
        () -> with(Twin.class.getName()));
  }

  @Test
  void aMissingClassIsNamed() {
    refused(Category.ENVIRONMENT, "org.example.Gone", () -> with("org.example.Gone"));
  }
}
