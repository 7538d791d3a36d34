package io.gracebeam.proto.artifact;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Quantization;
import io.gracebeam.proto.v1.TeacherCache;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import org.junit.jupiter.api.Test;

class StageKeysTest {
  private static final String A = "a".repeat(64);
  private static final Quantization PART = Quantization.newBuilder().setBits(4).build();

  @Property(tries = 50)
  void placeKindAndSizeOfInputsDoNotMatter(@ForAll String uri, @ForAll String kind) {
    ArtifactRef ref =
        ArtifactRef.newBuilder().setSha256(A).setUri(uri).setKind(kind).setBytes(9).build();
    assertThat(StageKeys.key("train", 1, PART, Map.of("student", ref), "e", 1))
        .isEqualTo(StageKeys.key("train", 1, PART, Map.of("student", ref(A)), "e", 1));
  }

  @Test
  void everythingElseMatters() {
    Map<String, ArtifactRef> inputs = Map.of("student", ref(A));
    assertThat(
            Set.of(
                StageKeys.key("train", 1, PART, inputs, "e", 1),
                StageKeys.key("export", 1, PART, inputs, "e", 1),
                StageKeys.key("train", 2, PART, inputs, "e", 1),
                StageKeys.key("train", 1, Quantization.getDefaultInstance(), inputs, "e", 1),
                StageKeys.key("train", 1, TeacherCache.getDefaultInstance(), inputs, "e", 1),
                StageKeys.key("train", 1, PART, Map.of("teacher", ref(A)), "e", 1),
                StageKeys.key("train", 1, PART, Map.of("student", ref("b".repeat(64))), "e", 1),
                StageKeys.key("train", 1, PART, Map.of(), "e", 1),
                StageKeys.key("train", 1, PART, inputs, "f", 1),
                StageKeys.key("train", 1, PART, inputs, "e", 2)))
        .hasSize(10)
        .allMatch(key -> key.matches("[0-9a-f]{64}"));
  }

  @Test
  void inputWithoutDigestIsRefused() {
    assertThatThrownBy(() -> StageKeys.key("train", 1, PART, Map.of("x", ref("")), "", 0))
        .isInstanceOf(GraceException.class)
        .hasMessageContainingAll("train", "x", "allowed");
  }

  @Test
  void digestOfAMissingFileNamesIt() {
    assertThatThrownBy(() -> Digests.sha256(Path.of("no-such-file")))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("no-such-file: does not exist");
  }

  private static ArtifactRef ref(String sha256) {
    return ArtifactRef.newBuilder().setSha256(sha256).build();
  }
}
