package io.gracebeam.pipelines.run;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.plugin.Plugins;
import io.gracebeam.transforms.stages.DeadLetter;
import io.gracebeam.transforms.stages.StageResult;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Function;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.values.PCollection;

/**
 * Where the pipelines of runs are executed, and how their results come back. Found by {@link
 * java.util.ServiceLoader} by its name. Neither plan nor pipeline knows which one it is.
 */
public interface RunBackend {

  /** What {@code --backend} calls it. */
  String name();

  /**
   * Starts a pipeline; returns when it is under way.
   *
   * @throws GraceException (environment) if the backend cannot be reached or refuses the pipeline
   */
  SubmittedRun submit(Job job);

  /**
   * A pipeline to execute.
   *
   * @param stages adds all stages to an empty pipeline; the backend adds what carries their outputs
   *     back
   * @param options of the pipeline
   * @param folder empty folder of this machine for the backend's own use, kept after the run
   */
  record Job(Function<Pipeline, Outputs> stages, PipelineOptions options, Path folder) {}

  /**
   * What the stages of a run yield.
   *
   * @param results one for each finished stage; after a retry more, which are equal
   * @param refused records and stages that could not be used
   */
  record Outputs(PCollection<StageResult> results, PCollection<DeadLetter> refused) {}

  /**
   * The backend with a name.
   *
   * @throws GraceException (user) for an unknown name; the message lists all names
   */
  static RunBackend named(String name) {
    return Plugins.load(RunBackend.class, "run backend", backend -> List.of(backend.name()))
        .get(name);
  }
}
