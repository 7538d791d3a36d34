package io.gracebeam.proto.plugin;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PluginsTest {
  @TempDir Path folder;

  /** A service with names. */
  public interface Fruit {
    List<String> names();
  }

  /** Has two names. */
  public static final class Apple implements Fruit {
    @Override
    public List<String> names() {
      return List.of("pippin", "apple");
    }
  }

  /** Has one name. */
  public static final class Banana implements Fruit {
    @Override
    public List<String> names() {
      return List.of("banana");
    }
  }

  /** Takes a name that {@link Apple} has. */
  public static final class Impostor implements Fruit {
    @Override
    public List<String> names() {
      return List.of("apple");
    }
  }

  /** Has no name. */
  public static final class Nameless implements Fruit {
    @Override
    public List<String> names() {
      return List.of();
    }
  }

  /** Has a blank name. */
  public static final class Blank implements Fruit {
    @Override
    public List<String> names() {
      return List.of(" ");
    }
  }

  /** Cannot be made. */
  public static final class Broken implements Fruit {
    /** Fails. */
    public Broken() {
      throw new IllegalStateException("no seed");
    }

    @Override
    public List<String> names() {
      return List.of("broken");
    }
  }

  @Test
  void findsByEachNameAndSorts() throws IOException {
    Plugins<Fruit> found = load(Banana.class.getName(), Apple.class.getName());
    assertThat(found.names()).containsExactly("apple", "banana", "pippin");
    assertThat(found.all()).hasSize(2);
    assertThat(found.all().get(0)).isInstanceOf(Apple.class);
    assertThat(found.get("apple")).isSameAs(found.get("pippin")).isInstanceOf(Apple.class);
    assertThat(found.find("cherry")).isEmpty();
  }

  @Test
  void anUnknownNameListsWhatThereIs() throws IOException {
    Plugins<Fruit> found = load(Banana.class.getName(), Apple.class.getName());
    assertThatThrownBy(() -> found.get("cherry"))
        .hasMessage("fruit: 'cherry' is unknown; allowed: apple, banana, pippin")
        .extracting(error -> ((GraceException) error).category())
        .isEqualTo(Category.USER);
    Plugins<Fruit> none = load();
    assertThat(none.all()).isEmpty();
    assertThatThrownBy(() -> none.get("cherry"))
        .hasMessage("fruit: 'cherry' is unknown; allowed: none is there");
  }

  @Test
  void twoOfOneNameAreRefused() {
    assertRefused(
        "fruit: two plug-ins have the name 'apple': "
            + Apple.class.getName()
            + " and "
            + Impostor.class.getName(),
        Apple.class.getName(),
        Impostor.class.getName());
  }

  @Test
  void aNameIsRequired() {
    assertRefused(
        "fruit: plug-in " + Nameless.class.getName() + " has no name", Nameless.class.getName());
    assertRefused(
        "fruit: plug-in " + Blank.class.getName() + " has a blank name", Blank.class.getName());
  }

  @Test
  void aPluginThatCannotBeLoadedIsOneClearError() {
    assertRefused("io.gracebeam.Missing not found", "io.gracebeam.Missing");
    assertRefused("no seed", Broken.class.getName());
    assertRefused("not a subtype", PluginsTest.class.getName());
  }

  @Test
  void aClassOfANewerJavaIsOneClearError() throws IOException {
    byte[] bytes = readClass(Banana.class);
    bytes[6] = 0x7f;
    Path newer = folder.resolve(path(Banana.class));
    Files.createDirectories(newer.getParent());
    Files.write(newer, bytes);
    Path services = folder.resolve("META-INF/services/" + Fruit.class.getName());
    Files.createDirectories(services.getParent());
    Files.write(services, List.of(Banana.class.getName()));
    try (URLClassLoader loader = new OwnFirst(folder)) {
      assertThatThrownBy(() -> Plugins.load(Fruit.class, "fruit", Fruit::names, loader))
          .hasMessageStartingWith("fruit: a plug-in cannot be loaded: ")
          .hasMessageContaining("UnsupportedClassVersionError")
          .hasMessageContaining("Banana");
    }
  }

  private static String path(Class<?> type) {
    return type.getName().replace('.', '/') + ".class";
  }

  private static byte[] readClass(Class<?> type) throws IOException {
    try (InputStream in = type.getClassLoader().getResourceAsStream(path(type))) {
      return in.readAllBytes();
    }
  }

  /** Finds {@link Banana} in its own folder, everything else in its parent. */
  private static final class OwnFirst extends URLClassLoader {
    OwnFirst(Path folder) throws IOException {
      super(new URL[] {folder.toUri().toURL()}, Fruit.class.getClassLoader());
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
      return name.equals(Banana.class.getName()) ? findClass(name) : super.loadClass(name, resolve);
    }
  }

  private void assertRefused(String part, String... classes) {
    assertThatThrownBy(() -> load(classes))
        .hasMessageStartingWith("fruit: ")
        .hasMessageContaining(part)
        .extracting(error -> ((GraceException) error).category())
        .isEqualTo(Category.ENVIRONMENT);
  }

  private Plugins<Fruit> load(String... classes) throws IOException {
    Path file = folder.resolve("META-INF/services/" + Fruit.class.getName());
    Files.createDirectories(file.getParent());
    Files.write(file, List.of(classes));
    try (URLClassLoader loader =
        new URLClassLoader(new URL[] {folder.toUri().toURL()}, Fruit.class.getClassLoader())) {
      return Plugins.load(Fruit.class, "fruit", Fruit::names, loader);
    }
  }
}
