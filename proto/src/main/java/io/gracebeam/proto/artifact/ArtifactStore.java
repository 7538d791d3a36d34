package io.gracebeam.proto.artifact;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Write-once store of artifacts in a folder, shared by any number of threads and processes.
 *
 * <pre>
 * root/objects/SHA256        the artifact: a file or a folder
 * root/keys/STAGE_KEY.json   its manifest; once this exists, the artifact is published
 * root/tmp/                  what is being written
 * </pre>
 *
 * The content is forced to disk and renamed into place before the manifest is linked under its key,
 * so a crash at any point leaves either nothing or a whole artifact. A second publication under a
 * key must have the same digest, or it is an alarm.
 */
public final class ArtifactStore {
  private static final Pattern SAFE = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,127}");
  private static final Duration STALE = Duration.ofHours(24);

  private final Path root;
  private final Path objects;
  private final Path keys;
  private final Path tmp;

  private ArtifactStore(Path root) {
    this.root = root;
    this.objects = root.resolve("objects");
    this.keys = root.resolve("keys");
    this.tmp = root.resolve("tmp");
  }

  /**
   * Opens the store in {@code root}, which is created where it is missing. Temporary files of
   * crashed runs that are older than a day are removed.
   *
   * @throws GraceException (environment) where the folder cannot be written
   */
  public static ArtifactStore open(Path root) {
    ArtifactStore store = new ArtifactStore(root.toAbsolutePath().normalize());
    try {
      Files.createDirectories(store.objects);
      Files.createDirectories(store.keys);
      Files.createDirectories(store.tmp);
      store.removeStale();
    } catch (IOException e) {
      throw cannotWrite(store.root, e);
    }
    return store;
  }

  /** Absolute root of the store. */
  public Path root() {
    return root;
  }

  /**
   * The published manifest under {@code stageKey}, with absolute uris; empty where nothing is
   * published, or where the artifact itself was deleted since (so that the stage runs again).
   *
   * @throws GraceException (data) where the manifest is unreadable
   */
  public Optional<Manifest> find(String stageKey) {
    return read(stageKey)
        .filter(manifest -> Files.exists(object(manifest.getArtifact().getSha256())));
  }

  /**
   * A fresh empty folder to write an artifact into; exactly this path is then given to {@link
   * #publish}.
   *
   * @throws GraceException (environment) where it cannot be written
   */
  public Path begin(String stageKey) {
    Path folder = beginFile(stageKey);
    try {
      return Files.createDirectory(folder);
    } catch (IOException e) {
      throw cannotWrite(folder, e);
    }
  }

  /** A fresh path, at which nothing exists yet, for an artifact that is a single file. */
  public Path beginFile(String stageKey) {
    requireSafe("stage key", stageKey);
    return tmp.resolve(stageKey + "." + UUID.randomUUID());
  }

  /** Removes what was begun and will not be published. Never throws. */
  public void abandon(Path temp) {
    if (!inTmp(temp)) {
      return;
    }
    try {
      removeTree(temp);
    } catch (IOException e) {
      // Left for removeStale: the reason why it is abandoned is the error to tell.
    }
  }

  /**
   * Publishes what was written at {@code temp}, which is gone afterwards, whether this succeeds or
   * not.
   *
   * @param temp from {@link #begin} or {@link #beginFile}
   * @param partial stage key, kind, stage, inputs, tools, seed and so on; digest, bytes and uri are
   *     filled in here
   * @return the manifest in the store: this one, or the identical one that was there already
   * @throws GraceException (bug) where the key is published with other content, or nothing was
   *     written; (environment) where the disk is full or the store not writable
   */
  public Manifest publish(Path temp, Manifest.Builder partial) {
    if (!inTmp(temp)) {
      throw GraceException.bug("publish: %s is not in %s; allowed: what begin() gave", temp, tmp);
    }
    Path json = tmp.resolve(UUID.randomUUID() + ".json");
    try {
      requireSafe("stage key", partial.getStageKey());
      requireContent(temp, partial);
      forceTree(temp);
      String sha256 = Digests.sha256(temp);
      ArtifactRef ref =
          partial.getArtifact().toBuilder()
              .setSha256(sha256)
              .setBytes(Digests.bytes(temp))
              .setUri(object(sha256).toString())
              .build();
      Manifest manifest = partial.clone().setArtifact(ref).build();
      Optional<Manifest> existing = read(manifest.getStageKey());
      if (existing.isPresent()) {
        requireIdentical(existing.get(), manifest);
      }
      moveObject(temp, object(sha256));
      if (existing.isPresent()) {
        return existing.get();
      }
      Files.writeString(json, ManifestFiles.toJson(manifest, root), StandardOpenOption.CREATE_NEW);
      force(json);
      return linkKey(json, manifest);
    } catch (IOException e) {
      throw cannotWrite(temp, e);
    } finally {
      abandon(temp);
      abandon(json);
    }
  }

  /**
   * Reads the artifact again and compares.
   *
   * @throws GraceException (data) where it is missing or differs from its manifest
   */
  public void verify(Manifest manifest) {
    ArtifactRef ref = manifest.getArtifact();
    requireSafe("digest", ref.getSha256());
    Path path = object(ref.getSha256());
    if (!Files.exists(path)) {
      throw GraceException.data(
          "%s: artifact of stage %s is missing; run the stage again", path, manifest.getStage());
    }
    String actual = Digests.sha256(path);
    if (!actual.equals(ref.getSha256())) {
      throw GraceException.data(
          "%s: artifact of stage %s was changed: its digest is %s; allowed: %s",
          path, manifest.getStage(), actual, ref.getSha256());
    }
  }

  /**
   * The one-line error for a failed write, for stages that write into what {@link #begin} gave.
   *
   * @param where the file or folder that was being written
   */
  public static GraceException cannotWrite(Path where, IOException cause) {
    String text = String.valueOf(cause.getMessage());
    boolean full = text.contains("No space left") || text.contains("quota exceeded");
    return GraceException.environment(
            full
                ? "%s: the disk is full (%s); free some space and run again"
                : "%s: cannot be written (%s); allowed: a folder that this user may write",
            where,
            Digests.reason(cause))
        .withCause(cause);
  }

  private Optional<Manifest> read(String stageKey) {
    requireSafe("stage key", stageKey);
    Path file = keys.resolve(stageKey + ".json");
    try {
      return Optional.of(ManifestFiles.fromJson(Files.readString(file), root, file));
    } catch (NoSuchFileException e) {
      return Optional.empty();
    } catch (IOException e) {
      throw GraceException.data("%s: cannot be read (%s)", file, Digests.reason(e)).withCause(e);
    }
  }

  private Manifest linkKey(Path json, Manifest manifest) throws IOException {
    Path file = keys.resolve(manifest.getStageKey() + ".json");
    try {
      createExclusively(file, json);
      force(keys);
      return manifest;
    } catch (FileAlreadyExistsException e) {
      Manifest existing = read(manifest.getStageKey()).orElseThrow(() -> cannotWrite(file, e));
      requireIdentical(existing, manifest);
      return existing;
    }
  }

  /**
   * A hard link appears at once and never replaces; where links are not supported, threads of this
   * process take turns.
   */
  private static void createExclusively(Path file, Path json) throws IOException {
    try {
      Files.createLink(file, json);
    } catch (FileAlreadyExistsException e) {
      throw e;
    } catch (UnsupportedOperationException | IOException e) {
      synchronized (ArtifactStore.class) {
        if (Files.exists(file)) {
          throw new FileAlreadyExistsException(file.toString());
        }
        Files.move(json, file, StandardCopyOption.ATOMIC_MOVE);
      }
    }
  }

  private void moveObject(Path temp, Path target) throws IOException {
    if (Files.exists(target)) {
      return;
    }
    try {
      Files.move(temp, target, StandardCopyOption.ATOMIC_MOVE);
      force(objects);
    } catch (AtomicMoveNotSupportedException e) {
      throw e;
    } catch (IOException e) {
      if (!Files.exists(target)) {
        throw e;
      }
      // Another publication of the same content was faster.
    }
  }

  private static void requireIdentical(Manifest existing, Manifest second) {
    ArtifactRef was = existing.getArtifact();
    ArtifactRef is = second.getArtifact();
    if (!was.getSha256().equals(is.getSha256()) || !was.getKind().equals(is.getKind())) {
      throw GraceException.bug(
          "alarm: stage %s, key %s: second result is %s %s; allowed: %s %s, as published before",
          second.getStage(),
          second.getStageKey(),
          is.getKind(),
          is.getSha256(),
          was.getKind(),
          was.getSha256());
    }
  }

  private static void requireContent(Path temp, Manifest.Builder partial) throws IOException {
    if (partial.getArtifact().getKind().isEmpty()) {
      throw GraceException.bug(
          "stage '%s': artifact has no kind; allowed: model, dataset and so on",
          partial.getStage());
    }
    if (!Files.exists(temp)) {
      throw GraceException.bug(
          "stage '%s': nothing was written at %s; allowed: a file or a folder with files",
          partial.getStage(), temp);
    }
    List<Path> files = Files.isDirectory(temp) ? Digests.files(temp) : List.of(temp);
    if (files.isEmpty()) {
      throw GraceException.bug(
          "stage '%s': the folder %s has no file; allowed: at least one", partial.getStage(), temp);
    }
    for (Path file : files) {
      if (Files.isSymbolicLink(file)) {
        throw GraceException.bug(
            "stage '%s': %s is a link; allowed: plain files", partial.getStage(), file);
      }
    }
  }

  private Path object(String sha256) {
    return objects.resolve(sha256);
  }

  private boolean inTmp(Path temp) {
    Path path = temp.toAbsolutePath().normalize();
    return tmp.equals(path.getParent());
  }

  private static void requireSafe(String what, String name) {
    if (!SAFE.matcher(name).matches()) {
      throw GraceException.bug(
          "%s '%s': is not safe as a file name; allowed: %s", what, name, SAFE.pattern());
    }
  }

  private static void forceTree(Path temp) throws IOException {
    try (Stream<Path> paths = Files.walk(temp)) {
      for (Path path : (Iterable<Path>) paths::iterator) {
        force(path);
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private static void force(Path path) throws IOException {
    if (Files.isDirectory(path) && System.getProperty("os.name").startsWith("Windows")) {
      return;
    }
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      channel.force(true);
    }
  }

  private void removeStale() throws IOException {
    Instant limit = Instant.now().minus(STALE);
    try (Stream<Path> entries = Files.list(tmp)) {
      for (Path entry : (Iterable<Path>) entries::iterator) {
        if (lastWrite(entry).isBefore(limit)) {
          abandon(entry);
        }
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }

  private static Instant lastWrite(Path entry) {
    Instant last = Instant.MIN;
    try (Stream<Path> paths = Files.walk(entry)) {
      for (Path path : (Iterable<Path>) paths::iterator) {
        Instant time = Files.getLastModifiedTime(path).toInstant();
        last = time.isAfter(last) ? time : last;
      }
      return last;
    } catch (IOException | UncheckedIOException e) {
      return Instant.MAX; // Somebody is moving it away just now.
    }
  }

  private static void removeTree(Path path) throws IOException {
    if (!Files.exists(path)) {
      return;
    }
    try (Stream<Path> paths = Files.walk(path)) {
      for (Path each : (Iterable<Path>) paths.sorted(Comparator.reverseOrder())::iterator) {
        Files.deleteIfExists(each);
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
  }
}
