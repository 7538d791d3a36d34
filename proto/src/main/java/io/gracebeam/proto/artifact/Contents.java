package io.gracebeam.proto.artifact;

import io.gracebeam.proto.v1.ArtifactRef;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;

/** How the contents of artifacts lie in a store, each under its digest. */
interface Contents {

  /** What is about to be stored. */
  interface Pending {
    String sha256();

    /** Sum over all files. */
    long bytes();

    /** Stores the content; nothing happens where it is there already. */
    void store() throws IOException;
  }

  /** Where artifacts are written before they are stored. */
  Scratch scratch();

  /**
   * Hashes what was written.
   *
   * @param temp a file or folder; where this machine's files are not seen by all, it is only read
   * @param parts artifacts that belong into the folder, by relative name
   */
  Pending take(Path temp, Map<String, ArtifactRef> parts) throws IOException;

  /**
   * Whether all who read the store see a file or folder of this machine too, so that it need not be
   * copied.
   */
  boolean sees(Path path);

  /** Where the content with a digest lies; empty if it is not in the store. */
  Optional<URI> find(String sha256) throws IOException;

  /** Reads the content again and gives its digest. */
  String hash(URI content) throws IOException;
}
