package io.gracebeam.proto.artifact;

import java.io.IOException;
import java.net.URI;
import java.time.Duration;

/**
 * Opens the blob stores of one URI scheme. Found by {@link java.util.ServiceLoader}; a new kind of
 * store is a class of this interface, named in {@code META-INF/services}, and nothing else.
 */
public interface BlobStoreProvider {

  /** The scheme in lower case, for instance {@code file}. */
  String scheme();

  /**
   * Opens the store with a root, and makes it where that is possible. Called often: clients and
   * connections are to be kept for the next call.
   *
   * @param root has this scheme and no {@code /} at its end
   */
  BlobStore open(URI root) throws IOException;

  /**
   * The pause before a failed call is tried again for the first time; it doubles with each further
   * attempt.
   */
  default Duration firstPause() {
    return Duration.ofMillis(40);
  }
}
