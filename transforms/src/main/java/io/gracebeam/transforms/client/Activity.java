package io.gracebeam.transforms.client;

import io.gracebeam.proto.v1.Operation;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.ConcurrentSkipListMap;

/**
 * What the operations that this process watches are doing, for a person who waits. Known only where
 * the stages run in the launching process, as on the direct runner.
 */
public final class Activity {
  private static final ConcurrentSkipListMap<String, String> NOW = new ConcurrentSkipListMap<>();

  private Activity() {}

  /** One line per running operation, such as {@code 40 %: instruction training: step 80 of 200}. */
  public static List<String> lines() {
    return List.copyOf(NOW.values());
  }

  static void update(Operation operation) {
    if (operation.getState() == Operation.State.RUNNING && !operation.getMessage().isEmpty()) {
      NOW.put(
          operation.getId(),
          String.format(
              Locale.ROOT, "%.0f %%: %s", 100 * operation.getProgress(), operation.getMessage()));
    }
  }

  static void end(String id) {
    NOW.remove(id);
  }
}
