package io.gracebeam.proto.artifact;

import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.proto.artifact.testing.BlobFaults;
import io.gracebeam.proto.artifact.testing.HostileBlobs;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import net.jqwik.api.Assume;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.AlphaChars;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.Size;
import net.jqwik.api.constraints.StringLength;

/** Whatever happens while an artifact is published: either nothing is found, or a whole one. */
class PublishUnderFaultsTest {
  private static Manifest publish(ArtifactStore store, Map<String, String> files) {
    Path folder = store.begin("key");
    try {
      for (Map.Entry<String, String> file : files.entrySet()) {
        Path path = folder.resolve("in-" + file.getKey().length()).resolve(file.getKey());
        Files.createDirectories(path.getParent());
        Files.writeString(path, file.getValue());
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return store.publish(
        folder,
        Manifest.newBuilder()
            .setArtifact(ArtifactRef.newBuilder().setKind("model"))
            .setStage("train")
            .setStageKey("key"));
  }

  /** The number of calls after which the publisher dies covers all that there are, and more. */
  @Property(tries = 120)
  void aCrashLeavesNothingOrAWholeArtifactAndASuccessorFinishes(
      @ForAll @Size(min = 1, max = 4)
          Map<@AlphaChars @StringLength(min = 1, max = 6) String, @StringLength(max = 20) String>
              files,
      @ForAll @IntRange(min = 1, max = 20) int call,
      @ForAll long seed) {
    HostileBlobs blobs = HostileBlobs.create(new BlobFaults(0, 0, 0, 0, 0, seed));
    ArtifactStore store = ArtifactStore.open(blobs.root());
    blobs.crashIn(call);
    try {
      publish(store, files);
    } catch (HostileBlobs.Crash e) {
      assertThat(e).hasMessageContaining("crash");
    }
    blobs.recover();
    Optional<Manifest> found = store.find("key");
    found.ifPresent(store::verify);
    Manifest manifest = publish(store, files);
    store.verify(manifest);
    assertThat(Digests.sha256(Artifacts.fetch(manifest.getArtifact())))
        .isEqualTo(manifest.getArtifact().getSha256());
    assertThat(found).isIn(Optional.empty(), Optional.of(manifest));
  }

  @Property(tries = 60)
  void faultsAreRiddenOutOrAreTheEnvironment(@ForAll long seed) {
    HostileBlobs blobs = HostileBlobs.create(new BlobFaults(0, 0.15, 0.2, 0.15, 2, seed));
    ArtifactStore store = ArtifactStore.open(blobs.root());
    Map<String, String> files = Map.of("one", "content " + seed, "two", "x".repeat(3000) + seed);
    try {
      Manifest manifest = publish(store, files);
      assertThat(store.find("key")).contains(manifest);
      assertThat(publish(store, files)).isEqualTo(manifest);
      assertThat(Digests.sha256(Artifacts.fetch(manifest.getArtifact())))
          .isEqualTo(manifest.getArtifact().getSha256());
    } catch (GraceException e) {
      assertThat(e.category()).as(e.getMessage()).isEqualTo(Category.ENVIRONMENT);
    }
  }

  @Property(tries = 60)
  void ofTwoWritersWithOtherContentOneIsToldAndTheStoreStaysWhole(
      @ForAll long seed, @ForAll @IntRange(min = 1, max = 12) int call) {
    HostileBlobs blobs = HostileBlobs.create(new BlobFaults(0, 0, 0.3, 0, 0, seed));
    ArtifactStore store = ArtifactStore.open(blobs.root());
    blobs.crashIn(call);
    try {
      publish(store, Map.of("a", "first"));
    } catch (HostileBlobs.Crash e) {
      assertThat(e).hasMessageContaining("crash");
    } catch (GraceException e) {
      Assume.that(e.category() == Category.ENVIRONMENT);
    }
    blobs.recover();
    boolean there = store.find("key").isPresent();
    try {
      publish(store, Map.of("a", "second"));
      assertThat(there).isFalse();
    } catch (GraceException e) {
      Assume.that(e.category() != Category.ENVIRONMENT);
      assertThat(there).as(e.getMessage()).isTrue();
      assertThat(e.category()).isEqualTo(Category.BUG);
    }
    store.verify(store.find("key").orElseThrow());
  }
}
