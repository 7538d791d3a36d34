package io.gracebeam.proto.artifact;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.gracebeam.proto.artifact.testing.BlobFaults;
import io.gracebeam.proto.artifact.testing.HostileBlobs;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Stores of blobs, and what goes wrong with them. */
class BlobFaultsTest {
  @TempDir private Path temp;

  private final HostileBlobs blobs = HostileBlobs.create(BlobFaults.none());
  private final ArtifactStore store = ArtifactStore.open(blobs.root());

  private static Manifest publish(ArtifactStore store, String key, String content) {
    Path folder = store.begin(key);
    try {
      Files.createDirectory(folder.resolve("a b"));
      Files.writeString(folder.resolve("a b/c.txt"), content);
      Files.writeString(folder.resolve("d.txt"), "d");
    } catch (IOException e) {
      throw new AssertionError(e);
    }
    return store.publish(folder, partial(key));
  }

  private static Manifest.Builder partial(String key) {
    return Manifest.newBuilder()
        .setArtifact(ArtifactRef.newBuilder().setKind("model"))
        .setStage("train")
        .setStageKey(key);
  }

  private static GraceException failure(ThrowingCallable call) {
    return catchThrowableOfType(GraceException.class, call);
  }

  private static String sha256(String content) {
    return Digests.sha256(content.getBytes(StandardCharsets.UTF_8));
  }

  @Test
  void anArtifactIsTheSameInEveryKindOfStore() throws IOException {
    ArtifactStore files = ArtifactStore.open(temp.resolve("store"));
    Manifest there = publish(files, "key", "abc");
    Manifest here = publish(store, "key", "abc");
    assertThat(here.getArtifact().getSha256()).isEqualTo(there.getArtifact().getSha256());
    assertThat(here.getArtifact().getBytes()).isEqualTo(there.getArtifact().getBytes());
    assertThat(new String(blobs.content("keys/key.json"), StandardCharsets.UTF_8))
        .isEqualTo(Files.readString(temp.resolve("store/keys/key.json")))
        .contains("\"format\": 1")
        .doesNotContain("uri");
    assertThat(here.getArtifact().getUri())
        .isEqualTo(blobs.root() + "/trees/" + here.getArtifact().getSha256());
    assertThat(store.find("key")).contains(here);
    Path copy = Artifacts.fetch(here.getArtifact());
    assertThat(Digests.sha256(copy)).isEqualTo(here.getArtifact().getSha256());
    assertThat(Artifacts.fetch(here.getArtifact(), "a b/c.txt")).hasContent("abc");
    assertThat(Artifacts.sizes(here.getArtifact()))
        .isEqualTo(Artifacts.sizes(there.getArtifact()))
        .containsEntry("a b/c.txt", 3L);
    store.verify(here);
  }

  @Test
  void aFolderInsideIsAnArtifactOfItsOwn() throws IOException {
    ArtifactStore files = ArtifactStore.open(temp.resolve("store"));
    ArtifactRef here = Artifacts.inside(publish(store, "key", "xyz").getArtifact(), "a b");
    ArtifactRef there = Artifacts.inside(publish(files, "key", "xyz").getArtifact(), "a b");
    assertThat(here.getSha256()).isEqualTo(there.getSha256());
    assertThat(here.getBytes()).isEqualTo(there.getBytes()).isEqualTo(3);
    assertThat(Artifacts.fetch(here).resolve("c.txt")).hasContent("xyz");
    assertThat(Artifacts.fetch(there).resolve("c.txt")).hasContent("xyz");
    assertThat(failure(() -> Artifacts.inside(here, "../a")).category()).isEqualTo(Category.USER);
    assertThat(failure(() -> Artifacts.inside(here, "none"))).hasMessageContaining("none");
  }

  @Test
  void aSingleFile() throws IOException {
    Path file = store.beginFile("key");
    Files.writeString(file, "one file");
    Manifest manifest = store.publish(file, partial("key"));
    assertThat(manifest.getArtifact().getSha256()).isEqualTo(sha256("one file"));
    assertThat(Artifacts.fetch(manifest.getArtifact())).hasContent("one file");
    store.verify(manifest);
  }

  @Test
  void partsAreReferredToAndNotWrittenAgain() throws IOException {
    Manifest first = publish(store, "first", "part one");
    Manifest second = publish(store, "second", "part two");
    List<String> before = blobs.names();
    Path folder = store.begin("joined");
    Files.writeString(folder.resolve("gate.json"), "{}");
    Manifest joined =
        store.publish(
            folder,
            partial("joined"),
            Map.of("u0", first.getArtifact(), "u1", second.getArtifact()));
    assertThat(blobs.names().stream().filter(name -> !before.contains(name)))
        .containsExactlyInAnyOrder(
            "blobs/" + sha256("{}"),
            "trees/" + joined.getArtifact().getSha256(),
            "keys/joined.json");
    ArtifactStore files = ArtifactStore.open(temp.resolve("store"));
    Path other = files.begin("joined");
    Files.writeString(other.resolve("gate.json"), "{}");
    Manifest local =
        files.publish(
            other,
            partial("joined"),
            Map.of("u0", first.getArtifact(), "u1", second.getArtifact()));
    assertThat(local.getArtifact())
        .isEqualTo(joined.getArtifact().toBuilder().setUri(local.getArtifact().getUri()).build());
    assertThat(Artifacts.fetch(joined.getArtifact()).resolve("u1/a b/c.txt"))
        .hasContent("part two");
  }

  @Test
  void unknownSchemesAreNamedWithThoseThatThereAre() {
    GraceException error = failure(() -> ArtifactStore.open(URI.create("tape://shelf/3")));
    assertThat(error.category()).isEqualTo(Category.USER);
    assertThat(error).hasMessageContainingAll("tape://shelf/3", "file, hostile");
    ArtifactRef ref = ArtifactRef.newBuilder().setKind("model").setUri("/a/path").build();
    assertThat(failure(() -> Artifacts.fetch(ref))).hasMessageContainingAll("/a/path", "file");
    assertThat(failure(() -> Artifacts.uri("store", "no uri"))).hasMessageContaining("no uri");
  }

  @Test
  void aManifestOfANewerFormatIsRefused() {
    publish(store, "old", "abc");
    String newer =
        new String(blobs.content("keys/old.json"), StandardCharsets.UTF_8)
            .replace("\"format\": 1", "\"format\": 2,\n  \"signature\": \"of the future\"");
    blobs.delete("keys/old.json");
    blobs.rival("keys/old.json", newer.getBytes(StandardCharsets.UTF_8));
    GraceException error = failure(() -> publish(store, "old", "abc"));
    assertThat(error.category()).isEqualTo(Category.USER);
    assertThat(error).hasMessageContainingAll("keys/old.json", "format 2", "up to 1");
    assertThat(failure(() -> store.find("old"))).hasMessageContaining("format 2");
  }

  @Test
  void aDamagedCopyIsFetchedAgainOnceAndThenAnError() throws IOException {
    ArtifactCache cache = new ArtifactCache(temp.resolve("cache"));
    ArtifactRef ref = publish(store, "key", "precious").getArtifact();
    String blob = "blobs/" + sha256("precious");
    blobs.damage(blob, 1);
    assertThat(cache.fetch(ref, "a b/c.txt")).hasContent("precious");
    Path copy = cache.fetch(ref);
    Files.writeString(copy.resolve("a b/c.txt"), "tampered");
    assertThat(cache.fetch(ref).resolve("a b/c.txt")).hasContent("precious");
    Files.writeString(cache.fetch(ref, "a b/c.txt"), "tampered again");
    blobs.damage(blob, 2);
    GraceException error = failure(() -> cache.fetch(ref));
    assertThat(error.category()).isEqualTo(Category.DATA);
    assertThat(error).hasMessageContainingAll(blob, "fetched again", sha256("precious"));
    assertThat(cache.fetch(ref).resolve("a b/c.txt")).hasContent("precious");
    assertThat(temp.resolve("cache/tmp")).isEmptyDirectory();
  }

  @Test
  void damageInTheStoreIsFoundByVerify() {
    Manifest manifest = publish(store, "key", "to verify");
    blobs.damage("blobs/" + sha256("to verify"), 1);
    GraceException error = failure(() -> store.verify(manifest));
    assertThat(error.category()).isEqualTo(Category.DATA);
    assertThat(error).hasMessageContainingAll("a b/c.txt", "was changed");
    store.verify(manifest);
  }

  @Test
  void whatSomebodyDeletedIsMadeAgain() {
    Manifest manifest = publish(store, "key", "to delete");
    String tree = "trees/" + manifest.getArtifact().getSha256();
    blobs.delete(tree);
    assertThat(store.find("key")).isEmpty();
    assertThat(failure(() -> store.verify(manifest))).hasMessageContaining("missing");
    assertThat(publish(store, "key", "to delete")).isEqualTo(manifest);
    assertThat(store.find("key")).contains(manifest);
    blobs.delete("blobs/" + sha256("to delete"));
    ArtifactCache cache = new ArtifactCache(temp.resolve("cache"));
    assertThat(failure(() -> cache.fetch(manifest.getArtifact())).category())
        .isEqualTo(Category.DATA);
  }

  @Test
  void aSecondWriterOfTheSameIsWelcomeAndOfOtherContentAnAlarm() {
    ArtifactStore model = ArtifactStore.open(HostileBlobs.create(BlobFaults.none()).root());
    Manifest same = publish(model, "key", "abc");
    byte[] text = json("key", same.getArtifact().getSha256());
    blobs.rival("keys/key.json", text);
    assertThat(publish(store, "key", "abc").getArtifact().getSha256())
        .isEqualTo(same.getArtifact().getSha256());
    assertThat(blobs.content("keys/key.json")).isEqualTo(text);
    blobs.rival("keys/other.json", json("other", "0".repeat(64)));
    GraceException alarm = failure(() -> publish(store, "other", "abc"));
    assertThat(alarm.category()).isEqualTo(Category.BUG);
    assertThat(alarm).hasMessageContainingAll("alarm", "other", "0".repeat(64));
  }

  private static byte[] json(String key, String sha256) {
    Manifest.Builder manifest = partial(key).setFormat(ManifestFiles.FORMAT);
    manifest.getArtifactBuilder().setSha256(sha256);
    return ManifestFiles.toJson(manifest.build()).getBytes(StandardCharsets.UTF_8);
  }

  @Test
  void aLostReplyIsNoSecondPublication() {
    HostileBlobs deaf = HostileBlobs.create(new BlobFaults(0, 0, 0.4, 0, 0, 7));
    ArtifactStore lossy = ArtifactStore.open(deaf.root());
    Manifest manifest = publish(lossy, "key", "abc");
    assertThat(publish(lossy, "key", "abc")).isEqualTo(manifest);
    assertThat(lossy.find("key")).contains(manifest);
    assertThat(deaf.names()).hasSize(4);
  }

  @Test
  void aListingThatLagsLosesNothing() {
    HostileBlobs lagging = HostileBlobs.create(new BlobFaults(0, 0, 0, 0, 1, 7));
    ArtifactStore behind = ArtifactStore.open(lagging.root());
    Manifest first = publish(behind, "first", "1");
    Manifest second = publish(behind, "second", "2");
    assertThat(behind.keys()).containsExactly("first");
    assertThat(behind.find("second")).contains(second);
    assertThat(Artifacts.fetch(second.getArtifact(), "a b/c.txt")).hasContent("2");
    assertThat(publish(behind, "first", "1")).isEqualTo(first);
  }

  @Test
  void aStoreThatIsDownIsTheEnvironment() {
    HostileBlobs down = HostileBlobs.create(new BlobFaults(0, 1, 0, 0, 0, 7));
    ArtifactStore unreachable = ArtifactStore.open(down.root());
    GraceException error = failure(() -> unreachable.find("key"));
    assertThat(error.category()).isEqualTo(Category.ENVIRONMENT);
    assertThat(error).hasMessageContainingAll(down.root().toString(), "busy");
    assertThat(failure(() -> publish(unreachable, "key", "x")).category())
        .isEqualTo(Category.ENVIRONMENT);
    assertThat(failure(() -> ArtifactStore.open(URI.create("hostile://nowhere"))).category())
        .isEqualTo(Category.ENVIRONMENT);
  }
}
