package io.gracebeam.pipelines.run;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.transforms.stages.DeadLetter;
import io.gracebeam.transforms.stages.StageResult;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.beam.runners.direct.DirectOptions;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.PipelineResult;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.ParDo;

/** A toy backend: the direct runner, whose results come back in the memory of this process. */
public final class MemoryBackend implements RunBackend {
  static final AtomicInteger SUBMITTED = new AtomicInteger();
  private static final Map<String, Queue<Object>> YIELDS = new ConcurrentHashMap<>();

  /** For the service loader. */
  public MemoryBackend() {}

  @Override
  public String name() {
    return "memory";
  }

  @Override
  public SubmittedRun submit(Job job) {
    SUBMITTED.incrementAndGet();
    String id = UUID.randomUUID().toString();
    YIELDS.put(id, new ConcurrentLinkedQueue<>());
    job.options().as(DirectOptions.class).setBlockOnRun(false);
    Pipeline pipeline = Pipeline.create(job.options());
    Outputs outputs = job.stages().apply(pipeline);
    outputs.results().apply("Keep/Results", ParDo.of(new Keep<StageResult>(id)));
    outputs.refused().apply("Keep/Refused", ParDo.of(new Keep<DeadLetter>(id)));
    return new InMemory(pipeline.run(), id);
  }

  private static final class Keep<T> extends DoFn<T, Void> {
    private static final long serialVersionUID = 1L;
    private final String id;

    Keep(String id) {
      this.id = id;
    }

    @ProcessElement
    public void process(@Element T element) {
      YIELDS.get(id).add(element);
    }
  }

  private record InMemory(PipelineResult pipeline, String id) implements SubmittedRun {

    private Map<String, StageResult> finished() {
      Map<String, StageResult> finished = new TreeMap<>();
      YIELDS.get(id).stream()
          .filter(StageResult.class::isInstance)
          .map(StageResult.class::cast)
          .forEach(result -> finished.put(result.getTaskId(), result));
      return finished;
    }

    @Override
    public Status progress() {
      return new Status(List.copyOf(finished().keySet()), List.of());
    }

    @Override
    public Results results() {
      if (pipeline.waitUntilFinish() == PipelineResult.State.CANCELLED) {
        throw GraceException.user("the run was canceled");
      }
      return new Results(
          finished(),
          YIELDS.get(id).stream()
              .filter(DeadLetter.class::isInstance)
              .map(DeadLetter.class::cast)
              .toList());
    }

    @Override
    public void cancel() {
      try {
        pipeline.cancel();
      } catch (IOException e) {
        throw GraceException.environment("cannot be canceled: %s", e.getMessage()).withCause(e);
      }
    }
  }
}
