package io.gracebeam.transforms.stages;

import com.google.protobuf.Message;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Runs the tasks of one kind of stage inside the pipeline, without a worker. Found by {@link
 * java.util.ServiceLoader}; the kind needs a row of the stage table as well, with executor {@code
 * LOCAL}. The result must follow from work, inputs and seed alone, byte for byte.
 */
public interface LocalStage {

  /** Name of the kind: that of its row in the stage table. */
  String stage();

  /**
   * Writes the result of a task.
   *
   * @return small facts for the manifest
   * @throws GraceException of category data where an input is damaged: the task is a dead letter
   *     then
   * @throws IOException where the result cannot be written
   */
  Map<String, Double> run(Job job) throws IOException;

  /**
   * Inputs that become folders of the result, by relative name, beside what {@link #run} writes.
   * Their files are linked or referred to, not copied, where the store can.
   *
   * @param inputs artifacts by role
   */
  default Map<String, ArtifactRef> parts(SortedMap<String, ArtifactRef> inputs) {
    return Map.of();
  }

  /** Records that a published result lists as refused. */
  default List<Refused> refused(ArtifactRef artifact) {
    return List.of();
  }

  /**
   * A task.
   *
   * @param id the task's id, for messages
   * @param work its work message, of the type that the kind's row names
   * @param inputs artifacts by role
   * @param seed seed of everything random
   * @param out fresh empty folder for the result
   */
  record Job(String id, Message work, SortedMap<String, ArtifactRef> inputs, long seed, Path out) {

    /** Keeps a copy of the inputs. */
    public Job {
      inputs = Collections.unmodifiableSortedMap(new TreeMap<>(inputs));
    }

    /**
     * An input as a file or folder of this machine, to be read only.
     *
     * @throws GraceException (data) where its bytes are missing or damaged; (environment) where its
     *     store cannot be read
     */
    public Path input(String role) {
      return Artifacts.fetch(inputs.get(role));
    }

    /**
     * The work as a message of a type.
     *
     * @throws GraceException (bug) where it is of another type
     */
    public <T extends Message> T work(Class<T> type) {
      if (!type.isInstance(work)) {
        throw GraceException.bug(
            "%s: work is %s; allowed: %s",
            id, work.getDescriptorForType().getFullName(), type.getSimpleName());
      }
      return type.cast(work);
    }
  }

  /**
   * A record that could not be used.
   *
   * @param id of the record
   * @param reason one line
   */
  record Refused(String id, String reason) {}
}
