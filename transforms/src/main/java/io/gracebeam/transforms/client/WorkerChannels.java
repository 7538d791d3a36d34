package io.gracebeam.transforms.client;

import java.util.concurrent.ConcurrentHashMap;

/**
 * The channels of this JVM, one per endpoint, counted by reference. Count and entry change
 * together, in one compute.
 */
final class WorkerChannels {
  private static final ConcurrentHashMap<String, WorkerChannel> LIVE = new ConcurrentHashMap<>();

  private WorkerChannels() {}

  /**
   * The endpoint's channel, made on first use; the first user's bound on calls in flight holds for
   * all.
   */
  static WorkerChannel acquire(String endpoint, int maxInFlight) {
    return LIVE.compute(
        endpoint,
        (key, present) -> {
          WorkerChannel channel = present == null ? new WorkerChannel(key, maxInFlight) : present;
          channel.references++;
          return channel;
        });
  }

  /** Gives a reference back; the last one shuts the channel down. */
  static void release(WorkerChannel channel) {
    LIVE.compute(
        channel.endpoint(),
        (key, present) -> {
          if (present != channel) {
            throw new IllegalStateException("channel to " + key + " was released too often");
          }
          if (--present.references > 0) {
            return present;
          }
          present.shutdown();
          return null;
        });
  }

  static int live() {
    return LIVE.size();
  }
}
