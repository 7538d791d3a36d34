package io.gracebeam.proto.artifact;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ArtifactStoreTest {
  @TempDir private Path root;
  private Path place;
  private ArtifactStore store;

  @BeforeEach
  void open() {
    place = root.resolve("store");
    store = ArtifactStore.open(place);
  }

  @Test
  void publishedFolderIsFoundAndVerified() throws IOException {
    Manifest manifest = publish(store, "key", "abc");
    assertThat(manifest.getArtifact().getBytes()).isEqualTo(3);
    assertThat(Artifacts.fetch(manifest.getArtifact()).resolve("a/b.txt")).hasContent("abc");
    String line = Digests.sha256("abc".getBytes(StandardCharsets.UTF_8)) + "  a/b.txt\n";
    assertThat(manifest.getArtifact().getSha256())
        .isEqualTo(Digests.sha256(line.getBytes(StandardCharsets.UTF_8)));
    assertThat(ArtifactStore.open(place).find("key")).contains(manifest);
    store.verify(manifest);
    assertNothingInTmp();
  }

  @Test
  void singleFile() throws IOException {
    Path file = store.beginFile("key");
    Files.writeString(file, "abc");
    Manifest manifest = store.publish(file, partial("key"));
    assertThat(manifest.getArtifact().getSha256())
        .isEqualTo("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assertThat(Artifacts.fetch(manifest.getArtifact())).isRegularFile();
  }

  @Test
  void manifestTextHoldsNoPlace() throws IOException {
    publish(store, "key", "abc");
    ArtifactStore other = ArtifactStore.open(root.resolve("other"));
    publish(other, "key", "abc");
    assertThat(place.resolve("keys/key.json"))
        .hasSameTextualContentAs(root.resolve("other").resolve("keys/key.json"))
        .content()
        .doesNotContain(root.toString());
  }

  @Test
  void identicalPublicationReturnsTheFirst() throws IOException {
    Manifest first = publish(store, "key", "abc");
    assertThat(publish(store, "key", "abc")).isEqualTo(first);
    assertNothingInTmp();
  }

  @Test
  void otherContentUnderTheSameKeyIsAnAlarm() throws IOException {
    Manifest first = publish(store, "key", "abc");
    GraceException alarm = failure(() -> publish(store, "key", "abd"));
    assertThat(alarm.category()).isEqualTo(Category.BUG);
    assertThat(alarm).hasMessageContainingAll("alarm", "key", first.getArtifact().getSha256());
    assertThat(store.find("key")).contains(first);
    assertNothingInTmp();
  }

  @Test
  void concurrentPublicationsOfTheSameContentAgree() throws Exception {
    List<Manifest> results = concurrently(8, i -> publish(store, "key", "same"));
    assertThat(results).hasSize(8).containsOnly(store.find("key").orElseThrow());
    assertNothingInTmp();
  }

  @Test
  void concurrentPublicationsOfDifferentContentHaveOneWinner() throws Exception {
    List<Object> results =
        concurrently(
            6,
            i -> {
              try {
                return publish(store, "key", "content " + i);
              } catch (GraceException e) {
                return e.category();
              }
            });
    Manifest winner = store.find("key").orElseThrow();
    assertThat(results).containsOnly(winner, Category.BUG).containsOnlyOnce(winner);
    store.verify(winner);
  }

  @Test
  void changedArtifactIsNoticed() throws IOException {
    Manifest manifest = publish(store, "key", "abc");
    Files.writeString(Artifacts.fetch(manifest.getArtifact()).resolve("a/b.txt"), "abX");
    assertThat(failure(() -> store.verify(manifest)).category()).isEqualTo(Category.DATA);
  }

  @Test
  void deletedArtifactIsMadeAgain() throws IOException {
    Manifest manifest = publish(store, "key", "abc");
    Path object = Artifacts.fetch(manifest.getArtifact());
    Files.move(object, root.resolve("gone"));
    assertThat(store.find("key")).isEmpty();
    assertThat(failure(() -> store.verify(manifest))).hasMessageContaining("missing");
    assertThat(publish(store, "key", "abc")).isEqualTo(manifest);
    assertThat(store.find("key")).contains(manifest);
  }

  @Test
  void damagedManifestIsNamed() throws IOException {
    Files.writeString(place.resolve("keys/key.json"), "{ no json");
    GraceException error = failure(() -> store.find("key"));
    assertThat(error.category()).isEqualTo(Category.DATA);
    assertThat(error).hasMessageContaining("key.json");
  }

  @Test
  void unwritableStoreIsOneLine() throws IOException {
    Path file = Files.writeString(root.resolve("file"), "");
    GraceException error = failure(() -> ArtifactStore.open(file.resolve("store")));
    assertThat(error.category()).isEqualTo(Category.ENVIRONMENT);
    assertThat(error).hasMessageContainingAll(file.toString(), "cannot be written", "allowed");
  }

  @Test
  void failureWhilePublishingLeavesNothing() throws IOException {
    Path temp = store.begin("key");
    Files.writeString(temp.resolve("x"), "x");
    Path objects = place.resolve("objects");
    Files.delete(objects);
    Files.writeString(objects, "a file in the way");
    GraceException error = failure(() -> store.publish(temp, partial("key")));
    assertThat(error.category()).isEqualTo(Category.ENVIRONMENT);
    assertThat(place.resolve("keys")).isEmptyDirectory();
    assertNothingInTmp();
  }

  @Test
  void fullDiskIsSaid() {
    IOException full = new FileSystemException("/x", null, "No space left on device");
    GraceException error = ArtifactStore.cannotWrite(Path.of("/x"), full);
    assertThat(error.category()).isEqualTo(Category.ENVIRONMENT);
    assertThat(error).hasMessageContaining("the disk is full");
  }

  @Test
  void refusesWhatIsNoArtifact() throws IOException {
    assertThat(failure(() -> store.begin("../key"))).hasMessageContainingAll("../key", "allowed");
    assertThat(failure(() -> store.find(""))).hasMessageContaining("allowed");
    assertThat(failure(() -> store.publish(root, partial("key")))).hasMessageContaining("begin()");
    assertThat(failure(() -> store.publish(store.begin("key"), partial("key"))))
        .hasMessageContaining("has no file");
    Path link = store.begin("key");
    Files.createSymbolicLink(link.resolve("link"), Files.writeString(root.resolve("f"), "x"));
    assertThat(failure(() -> store.publish(link, partial("key")))).hasMessageContaining("link");
    assertNothingInTmp();
  }

  @Test
  void oldTemporaryFilesAreRemovedAndFreshOnesKept() throws IOException {
    Path old = store.begin("old");
    Files.setLastModifiedTime(old, FileTime.from(Instant.now().minusSeconds(3 * 86_400)));
    Path fresh = store.begin("fresh");
    ArtifactStore.open(place);
    assertThat(old).doesNotExist();
    assertThat(fresh).isDirectory();
  }

  private interface Work<T> {
    T apply(int index) throws Exception;
  }

  private static <T> List<T> concurrently(int threads, Work<T> work) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(threads);
    try {
      CyclicBarrier start = new CyclicBarrier(threads);
      List<Callable<T>> calls = new ArrayList<>();
      for (int i = 0; i < threads; i++) {
        int index = i;
        calls.add(
            () -> {
              start.await();
              return work.apply(index);
            });
      }
      List<T> results = new ArrayList<>();
      for (Future<T> future : pool.invokeAll(calls)) {
        results.add(future.get());
      }
      return results;
    } finally {
      pool.shutdownNow();
    }
  }

  private static Manifest publish(ArtifactStore store, String key, String content)
      throws IOException {
    Path temp = store.begin(key);
    Files.createDirectory(temp.resolve("a"));
    Files.writeString(temp.resolve("a/b.txt"), content);
    return store.publish(temp, partial(key));
  }

  private static Manifest.Builder partial(String key) {
    return Manifest.newBuilder()
        .setArtifact(ArtifactRef.newBuilder().setKind("model"))
        .setStage("train")
        .setStageKey(key)
        .setSeed(7);
  }

  private static GraceException failure(ThrowingCallable call) {
    return catchThrowableOfType(GraceException.class, call);
  }

  private void assertNothingInTmp() {
    assertThat(place.resolve("tmp")).isEmptyDirectory();
  }
}
