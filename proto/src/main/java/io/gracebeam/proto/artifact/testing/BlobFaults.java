package io.gracebeam.proto.artifact.testing;

/**
 * What goes wrong in a {@link HostileBlobs}, by chance but repeatably.
 *
 * @param latencyMillis how long each call takes
 * @param failed share of calls that fail before they take effect
 * @param lostReplies share of creations that take effect and fail all the same
 * @param brokenStreams share of reads that break in the middle
 * @param unlisted how many of the newest blobs listings leave out
 * @param seed of the chances
 */
public record BlobFaults(
    int latencyMillis,
    double failed,
    double lostReplies,
    double brokenStreams,
    int unlisted,
    long seed) {

  /** A store that does what it should. */
  public static BlobFaults none() {
    return new BlobFaults(0, 0, 0, 0, 0, 0);
  }

  /** All faults at once, each often enough to be met in a small run. */
  public static BlobFaults all(long seed) {
    return new BlobFaults(1, 0.05, 0.1, 0.05, 3, seed);
  }
}
