package io.gracebeam.worker.methods.stages;

import com.google.protobuf.Message;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.work.Progress;
import java.nio.file.Path;
import java.util.Collections;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * One task for a worker.
 *
 * @param engine the worker's tensor engine
 * @param work what to do: the work message of the kind's row in the stage table
 * @param inputs verified files or folders by role
 * @param seed seed of everything random
 * @param out fresh empty folder for the result
 * @param progress is told how far the work is, and knows whether it should stop
 */
public record StageJob(
    EngineHandle engine,
    Message work,
    SortedMap<String, Path> inputs,
    long seed,
    Path out,
    Progress progress) {

  /** Keeps a copy of the inputs. */
  public StageJob {
    inputs = Collections.unmodifiableSortedMap(new TreeMap<>(inputs));
  }

  /**
   * The work as a message of a type.
   *
   * @throws GraceException (bug) where it is of another type
   */
  public <T extends Message> T work(Class<T> type) {
    if (!type.isInstance(work)) {
      throw GraceException.bug(
          "work is %s; allowed: %s",
          work.getDescriptorForType().getFullName(), type.getSimpleName());
    }
    return type.cast(work);
  }
}
