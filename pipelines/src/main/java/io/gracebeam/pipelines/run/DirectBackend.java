package io.gracebeam.pipelines.run;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.transforms.client.Activity;
import java.io.IOException;
import java.nio.file.Path;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.PipelineResult;
import org.apache.beam.sdk.PipelineResult.State;
import org.apache.beam.sdk.transforms.ParDo;

/**
 * Runs pipelines from this process, on Beam's direct runner or the one that the options name.
 * Results come back as files of a folder, which all processes of the runner have to see.
 */
public final class DirectBackend implements RunBackend {

  /** For the service loader. */
  public DirectBackend() {}

  @Override
  public String name() {
    return "direct";
  }

  @Override
  public SubmittedRun submit(Job job) {
    Pipeline pipeline = Pipeline.create(job.options());
    Outputs outputs = job.stages().apply(pipeline);
    outputs.results().apply("Record/Results", ParDo.of(new Recorded.WriteResult(job.folder())));
    outputs.refused().apply("Record/Refused", ParDo.of(new Recorded.WriteRefused(job.folder())));
    return new Running(CalmDirectRunner.run(pipeline, job.options()), job.folder());
  }

  private record Running(PipelineResult pipeline, Path folder) implements SubmittedRun {

    @Override
    public Status progress() {
      return new Status(Recorded.ended(folder), Activity.lines());
    }

    @Override
    public Results results() {
      State state = pipeline.waitUntilFinish();
      if (state == State.CANCELLED) {
        throw GraceException.user(
            "the run was canceled; run it again to go on from the stages that it finished");
      }
      if (state == State.FAILED) {
        throw GraceException.environment(
            "the runner says that the pipeline failed, and not why; its own log may");
      }
      return Recorded.read(folder);
    }

    @Override
    public void cancel() {
      try {
        pipeline.cancel();
      } catch (IOException e) {
        throw GraceException.environment("the pipeline cannot be canceled: %s", e.getMessage())
            .withCause(e);
      }
    }
  }
}
