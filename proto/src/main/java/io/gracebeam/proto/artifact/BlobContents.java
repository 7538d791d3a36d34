package io.gracebeam.proto.artifact;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * Contents in a store without folders or renames: {@code blobs/SHA256} is a file, {@code
 * trees/SHA256} the list of a folder's files ({@link Tree}), created after all of them. Equal files
 * are stored once.
 */
final class BlobContents implements Contents {
  static final String BLOBS = "blobs/";
  static final String TREES = "trees/";

  private final URI root;
  private final BlobStore blobs;
  private final ArtifactCache cache;

  BlobContents(URI root, BlobStore blobs, ArtifactCache cache) {
    this.root = root;
    this.blobs = blobs;
    this.cache = cache;
  }

  private final class BlobPending implements Pending {
    private final Map<String, Path> files;
    private final Optional<Tree> tree;
    private final String sha256;
    private final long bytes;

    BlobPending(Map<String, Path> files, Optional<Tree> tree, long bytes) {
      this.files = files;
      this.tree = tree;
      this.sha256 = tree.map(Tree::sha256).orElseGet(() -> files.keySet().iterator().next());
      this.bytes = bytes;
    }

    @Override
    public String sha256() {
      return sha256;
    }

    @Override
    public long bytes() {
      return bytes;
    }

    @Override
    public void store() throws IOException {
      for (Map.Entry<String, Path> file : files.entrySet()) {
        if (blobs.size(BLOBS + file.getKey()).isEmpty()) {
          blobs.createIfAbsent(BLOBS + file.getKey(), file.getValue());
        }
      }
      if (tree.isPresent()) {
        Path text = scratch().fresh("tree");
        try {
          blobs.createIfAbsent(TREES + sha256, Files.writeString(text, tree.get().text()));
        } finally {
          scratch().abandon(text);
        }
      }
    }
  }

  @Override
  public Scratch scratch() {
    return cache.scratch();
  }

  @Override
  public Pending take(Path temp, Map<String, ArtifactRef> parts) throws IOException {
    Map<String, Path> files = new LinkedHashMap<>();
    if (!Files.isDirectory(temp)) {
      files.put(Digests.sha256(temp), temp);
      return new BlobPending(files, Optional.empty(), Files.size(temp));
    }
    Tree tree = Tree.of(temp);
    tree.files().forEach((name, sha256) -> files.put(sha256, temp.resolve(name)));
    long bytes = Digests.bytes(temp);
    for (Map.Entry<String, ArtifactRef> part : parts.entrySet()) {
      ArtifactRef ref = part.getValue();
      Tree of;
      if (BlobStores.isFile(Artifacts.uri(ref)) || !Place.of(ref).root().equals(root)) {
        Path folder = Artifacts.fetch(ref);
        of = Tree.of(folder);
        of.files().forEach((name, sha256) -> files.put(sha256, folder.resolve(name)));
      } else {
        of = cache.tree(ref);
      }
      tree = tree.with(part.getKey(), of);
      bytes += ref.getBytes();
    }
    return new BlobPending(files, Optional.of(tree), bytes);
  }

  @Override
  public boolean sees(Path path) {
    return false;
  }

  @Override
  public Optional<URI> find(String sha256) throws IOException {
    for (String kind : new String[] {TREES, BLOBS}) {
      if (blobs.size(kind + sha256).isPresent()) {
        return Optional.of(URI.create(root + "/" + kind + sha256));
      }
    }
    return Optional.empty();
  }

  @Override
  public String hash(URI content) throws IOException {
    Place place = Place.of("artifact", content);
    String own = hash(place.name());
    if (!place.folder()) {
      return own;
    }
    Tree tree = cache.tree(place);
    for (Map.Entry<String, String> file : tree.files().entrySet()) {
      String is = hash(BLOBS + file.getValue());
      if (!is.equals(file.getValue())) {
        throw GraceException.data(
            "%s: the file %s was changed: its digest is %s; allowed: %s",
            content, file.getKey(), is, file.getValue());
      }
    }
    return own;
  }

  private String hash(String name) throws IOException {
    try (InputStream in = blobs.open(name, 0, BlobStore.ALL)) {
      return Digests.ofStream(in);
    }
  }
}
