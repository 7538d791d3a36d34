package io.gracebeam.proto.artifact;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Write-once store of artifacts under a URI, shared by any number of threads, processes and
 * machines. The scheme decides what lies below it ({@link BlobStoreProvider}).
 *
 * <pre>
 * ROOT/keys/STAGE_KEY.json   manifest of an artifact; once this exists, the artifact is published
 * ROOT/objects/SHA256        in a file system: the artifact, a file or a folder
 * ROOT/tmp/                  in a file system: what is being written
 * ROOT/blobs/SHA256          elsewhere: a file
 * ROOT/trees/SHA256          elsewhere: the list of a folder's files
 * </pre>
 *
 * The content is complete under its digest before the manifest is created under its key, so a crash
 * at any point leaves either nothing or a whole artifact. A second publication under a key must
 * have the same digest, or it is an alarm.
 */
public final class ArtifactStore {
  private static final Pattern SAFE = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,127}");
  private static final String KEYS = "keys/";
  private static final String JSON = ".json";

  private final URI uri;
  private final BlobStore blobs;
  private final Contents contents;

  private ArtifactStore(URI uri, BlobStore blobs, Contents contents) {
    this.uri = uri;
    this.blobs = blobs;
    this.contents = contents;
  }

  /**
   * Opens the store with a root, which is created where it is missing. Temporary files of crashed
   * runs that are older than a day are removed.
   *
   * @throws GraceException (user) if nothing offers the scheme; (environment) if the store cannot
   *     be written
   */
  public static ArtifactStore open(URI root) {
    URI uri = BlobStores.parse("store", root.toString());
    BlobStore blobs = BlobStores.open(uri);
    try {
      Contents contents =
          blobs.folder().isPresent()
              ? new FileContents(blobs.folder().get())
              : new BlobContents(uri, blobs, Artifacts.cache());
      return new ArtifactStore(uri, blobs, contents);
    } catch (IOException e) {
      throw cannotWrite(BlobStores.shown(uri), e);
    }
  }

  /** Opens the store in a folder, as {@link #open(URI)} does with its {@code file} URI. */
  public static ArtifactStore open(Path root) {
    return open(BlobStores.ofPath(root));
  }

  /** Root of the store. */
  public URI uri() {
    return uri;
  }

  /**
   * The published manifest under {@code stageKey}, whose artifact has its URI; empty where nothing
   * is published, or where the artifact itself was deleted since (so that the stage runs again).
   *
   * @throws GraceException (data) where the manifest is unreadable; (user) where it is of a newer
   *     format; (environment) where the store cannot be read
   */
  public Optional<Manifest> find(String stageKey) {
    return read(stageKey).flatMap(this::located);
  }

  /**
   * A fresh empty folder of this machine to write an artifact into; exactly this path is then given
   * to {@link #publish}.
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
    return contents.scratch().fresh(stageKey);
  }

  /** Removes what was begun and will not be published. Never throws. */
  public void abandon(Path temp) {
    contents.scratch().abandon(temp);
  }

  /**
   * Publishes what was written at {@code temp}, which is gone afterwards, whether this succeeds or
   * not.
   *
   * @param temp from {@link #begin} or {@link #beginFile}
   * @param partial stage key, kind, stage, inputs, tools, seed and so on; digest, bytes, uri and
   *     format are filled in here
   * @return the manifest in the store: this one, or the identical one that was there already
   * @throws GraceException (bug) where the key is published with other content, or nothing was
   *     written; (environment) where the disk is full or the store not writable
   */
  public Manifest publish(Path temp, Manifest.Builder partial) {
    return publish(temp, partial, Map.of());
  }

  /**
   * Publishes a folder together with other artifacts, which become folders of the new one. Their
   * files are linked or referred to, not copied, where the store can.
   *
   * @param parts artifacts by their relative name in the folder
   */
  public Manifest publish(Path temp, Manifest.Builder partial, Map<String, ArtifactRef> parts) {
    Scratch scratch = contents.scratch();
    if (!scratch.holds(temp)) {
      throw GraceException.bug(
          "publish: %s is not in %s; allowed: what begin() gave", temp, scratch.folder());
    }
    Path json = scratch.fresh("manifest");
    try {
      requireSafe("stage key", partial.getStageKey());
      requireContent(temp, partial, parts);
      Contents.Pending content = contents.take(temp, parts);
      ArtifactRef ref =
          partial.getArtifact().toBuilder()
              .setSha256(content.sha256())
              .setBytes(content.bytes())
              .build();
      Manifest manifest =
          ManifestFiles.withoutUris(
              partial.clone().setArtifact(ref).setFormat(ManifestFiles.FORMAT).build());
      Optional<Manifest> existing = read(manifest.getStageKey());
      existing.ifPresent(first -> requireIdentical(first, manifest));
      content.store();
      Manifest published = existing.isPresent() ? existing.get() : create(json, manifest);
      return located(published)
          .orElseThrow(
              () ->
                  GraceException.environment(
                      "%s: the artifact of stage %s vanished while it was published",
                      uri, manifest.getStage()));
    } catch (IOException e) {
      throw cannotWrite(BlobStores.shown(uri), e);
    } finally {
      abandon(temp);
      abandon(json);
    }
  }

  /**
   * An artifact that all who read this store can read. One on this machine is copied under its
   * digest, unless the store itself is in the file system.
   *
   * @throws GraceException (data) if it has not the digest of the reference; (environment) if the
   *     store cannot be written
   */
  public ArtifactRef reachable(ArtifactRef ref) {
    Optional<Path> path = Artifacts.path(Artifacts.uri(ref));
    if (path.isEmpty() || contents.sees(path.get())) {
      return ref;
    }
    try {
      Contents.Pending content = contents.take(path.get(), Map.of());
      if (!content.sha256().equals(ref.getSha256())) {
        throw GraceException.data(
            "%s: has the digest %s; the reference says %s",
            path.get(), content.sha256(), ref.getSha256());
      }
      content.store();
      URI place =
          contents
              .find(content.sha256())
              .orElseThrow(() -> new NoSuchFileException(content.sha256()));
      return ref.toBuilder().setUri(place.toString()).build();
    } catch (IOException e) {
      throw cannotWrite(BlobStores.shown(uri), e);
    }
  }

  /**
   * Reads the artifact again and compares.
   *
   * @throws GraceException (data) where it is missing or differs from its manifest; (environment)
   *     where the store cannot be read
   */
  public void verify(Manifest manifest) {
    String sha256 = manifest.getArtifact().getSha256();
    requireSafe("digest", sha256);
    try {
      URI place =
          contents
              .find(sha256)
              .orElseThrow(
                  () ->
                      GraceException.data(
                          "%s: artifact %s of stage %s is missing; run the stage again",
                          BlobStores.shown(uri), sha256, manifest.getStage()));
      String actual = contents.hash(place);
      if (!actual.equals(sha256)) {
        throw GraceException.data(
            "%s: artifact of stage %s was changed: its digest is %s; allowed: %s",
            BlobStores.shown(place), manifest.getStage(), actual, sha256);
      }
    } catch (IOException e) {
      throw unreadable(sha256, e);
    }
  }

  /**
   * Stage keys of everything that is published. Where the store's listing lags, the newest may be
   * missing: {@link #find} knows better.
   *
   * @throws GraceException (environment) where the store cannot be read
   */
  public List<String> keys() {
    try {
      return blobs.list(KEYS).stream()
          .filter(name -> name.endsWith(JSON))
          .map(name -> name.substring(KEYS.length(), name.length() - JSON.length()))
          .toList();
    } catch (IOException e) {
      throw unreadable(KEYS, e);
    }
  }

  /**
   * The one-line error for a failed write, for stages that write into what {@link #begin} gave.
   *
   * @param where the file or folder that was being written
   */
  public static GraceException cannotWrite(Path where, IOException cause) {
    return cannotWrite(where.toString(), cause);
  }

  static GraceException cannotWrite(String where, IOException cause) {
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

  private GraceException unreadable(String name, IOException cause) {
    return GraceException.environment(
            "%s: %s cannot be read (%s)", BlobStores.shown(uri), name, Digests.reason(cause))
        .withCause(cause);
  }

  /** The manifest with the place of its artifact; empty if the artifact is not there. */
  private Optional<Manifest> located(Manifest manifest) {
    String sha256 = manifest.getArtifact().getSha256();
    try {
      return contents
          .find(sha256)
          .map(
              place -> {
                Manifest.Builder located = manifest.toBuilder();
                located.getArtifactBuilder().setUri(place.toString());
                return located.build();
              });
    } catch (IOException e) {
      throw unreadable(sha256, e);
    }
  }

  private Optional<Manifest> read(String stageKey) {
    requireSafe("stage key", stageKey);
    String name = KEYS + stageKey + JSON;
    try (InputStream in = blobs.open(name, 0, BlobStore.ALL)) {
      String json = new String(in.readAllBytes(), StandardCharsets.UTF_8);
      return Optional.of(ManifestFiles.fromJson(json, BlobStores.shown(uri) + "/" + name));
    } catch (NoSuchFileException e) {
      return Optional.empty();
    } catch (IOException e) {
      throw unreadable(name, e);
    }
  }

  private Manifest create(Path json, Manifest manifest) throws IOException {
    Files.writeString(json, ManifestFiles.toJson(manifest), StandardOpenOption.CREATE_NEW);
    String name = KEYS + manifest.getStageKey() + JSON;
    if (blobs.createIfAbsent(name, json)) {
      return manifest;
    }
    Manifest existing =
        read(manifest.getStageKey()).orElseThrow(() -> new NoSuchFileException(name));
    requireIdentical(existing, manifest);
    return existing;
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

  private static void requireContent(
      Path temp, Manifest.Builder partial, Map<String, ArtifactRef> parts) throws IOException {
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
    if (!parts.isEmpty() && !Files.isDirectory(temp)) {
      throw GraceException.bug(
          "stage '%s': %s is a file; allowed with parts: a folder", partial.getStage(), temp);
    }
    List<Path> files = Files.isDirectory(temp) ? Digests.files(temp) : List.of(temp);
    if (files.isEmpty() && parts.isEmpty()) {
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

  private static void requireSafe(String what, String name) {
    if (!SAFE.matcher(name).matches()) {
      throw GraceException.bug(
          "%s '%s': is not safe as a file name; allowed: %s", what, name, SAFE.pattern());
    }
  }
}
