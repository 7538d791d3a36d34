package io.gracebeam.proto.worker;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.GraceException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BuildsTest {
  @Test
  void hasVersionAndDigest() {
    assertThat(Builds.current()).matches("[0-9][^+$]*\\+[0-9a-f]{12}").isEqualTo(Builds.current());
  }

  @Test
  void otherBuildIsRefusedByName() {
    assertThatCode(() -> Builds.requireSame("worker", Builds.current())).doesNotThrowAnyException();
    assertThatThrownBy(() -> Builds.requireSame("worker host:1", "0.0+abc"))
        .isInstanceOf(GraceException.class)
        .hasMessageContainingAll("host:1", "0.0+abc", Builds.current());
  }

  @Test
  void noProviderIsEmpty() {
    assertThat(EmbeddedWorkerProvider.find()).isEmpty();
  }

  @Test
  void providerOfANewerJavaIsEmpty(@TempDir Path folder) throws Exception {
    Path services = Files.createDirectories(folder.resolve("META-INF/services"));
    Files.writeString(services.resolve(EmbeddedWorkerProvider.class.getName()), "Newer");
    // Magic, minor 0, major 999: refused before anything else of the class is read.
    byte[] newer = {(byte) 0xCA, (byte) 0xFE, (byte) 0xBA, (byte) 0xBE, 0, 0, 3, (byte) 0xE7};
    Files.write(folder.resolve("Newer.class"), newer);
    try (URLClassLoader loader = new URLClassLoader(new URL[] {folder.toUri().toURL()})) {
      assertThat(EmbeddedWorkerProvider.find(loader)).isEmpty();
    }
  }
}
