package io.gracebeam.proto.artifact;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DigestsTest {
  @TempDir Path temp;

  private Path folder() throws IOException {
    Path folder = temp.resolve("folder");
    Files.createDirectories(folder.resolve("inner"));
    Files.writeString(folder.resolve("inner/a.txt"), "a");
    return folder;
  }

  @Test
  void aLinkToAFolderHasTheFoldersDigest() throws IOException {
    Path folder = folder();
    Path link = Files.createSymbolicLink(temp.resolve("link"), folder);
    assertThat(Digests.sha256(link)).isEqualTo(Digests.sha256(folder));
    assertThat(Digests.bytes(link)).isEqualTo(1);
  }

  @Test
  void whatALinkedFolderHoldsIsPartOfTheDigest() throws IOException {
    Path outer = Files.createDirectories(temp.resolve("outer"));
    Path folder = folder();
    Files.createSymbolicLink(outer.resolve("linked"), folder.resolve("inner"));
    String before = Digests.sha256(outer);
    Files.writeString(folder.resolve("inner/a.txt"), "b");
    assertThat(Digests.sha256(outer)).isNotEqualTo(before);
  }

  @Test
  void aLinkThatLeadsBackIsRefused() throws IOException {
    Path folder = folder();
    Files.createSymbolicLink(folder.resolve("inner/back"), folder);
    assertThatThrownBy(() -> Digests.sha256(folder))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
        .hasMessageContaining("cannot be read");
  }
}
