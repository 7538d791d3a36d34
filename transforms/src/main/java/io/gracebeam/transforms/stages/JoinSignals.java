package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import com.google.protobuf.Empty;
import io.gracebeam.transforms.client.Workers;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.GroupByKey;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.WithKeys;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionView;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Joins all units of {@link ExtractTeacher.Result#units} to one artifact of kind "signals", which
 * {@link TrainStudents} reads. It also holds {@value #GATE}: how well the teacher's entropy tells
 * its errors. Units are joined in the order of their ids, whatever their order in the collection.
 * No worker is called.
 */
@AutoValue
public abstract class JoinSignals extends PTransform<PCollection<StageResult>, ArtifactOutputs> {
  /** Name of the file with the gate statistics. */
  public static final String GATE = "gate.json";

  private static final String NAME = "JoinSignals";

  abstract Workers workers();

  abstract @Nullable String store();

  abstract @Nullable Given teacher();

  /** Joins in pipelines that use the given workers. */
  public static JoinSignals on(Workers workers) {
    return new AutoValue_JoinSignals(workers, null, null);
  }

  /** Sets the artifact store: a URI, or a folder. Required. */
  public JoinSignals intoStore(String store) {
    return new AutoValue_JoinSignals(workers(), Settings.store(NAME, store), teacher());
  }

  /** Sets the teacher, whose configuration tells the size of the vocabulary. Required. */
  public JoinSignals withTeacher(Artifact teacher) {
    return new AutoValue_JoinSignals(workers(), store(), Given.of(teacher));
  }

  /** Sets the teacher to the only element of a collection. */
  public JoinSignals withTeacher(PCollectionView<Artifact> teacher) {
    return new AutoValue_JoinSignals(workers(), store(), Given.of(teacher));
  }

  @Override
  public ArtifactOutputs expand(PCollection<StageResult> units) {
    Settings.bounded(NAME, units);
    Settings.required(NAME, "intoStore", store());
    Given teacher = Settings.required(NAME, "withTeacher", teacher());
    return ArtifactOutputs.of(
        units
            .apply("Together", WithKeys.of(""))
            .apply("Group", GroupByKey.create())
            .apply("Task", ParDo.of(new TaskFn(this)).withSideInputs(teacher.sideInputs()))
            .apply("Join", RunStages.on(workers())));
  }

  private static final class TaskFn extends DoFn<KV<String, Iterable<StageResult>>, StageTask> {
    private static final long serialVersionUID = 1L;
    private final JoinSignals settings;

    TaskFn(JoinSignals settings) {
      this.settings = settings;
    }

    @ProcessElement
    public void process(ProcessContext context) {
      List<StageResult> units = new ArrayList<>();
      context.element().getValue().forEach(units::add);
      units.sort(Comparator.comparing(StageResult::getTaskId));
      StageTask task =
          StageTask.of("signals", "signals", Empty.getDefaultInstance(), 0, settings.store())
              .withInput("teacher", settings.teacher().get(context).ref());
      for (int i = 0; i < units.size(); i++) {
        task = task.withInput("unit-%04d".formatted(i), units.get(i).manifest().getArtifact());
      }
      context.output(task);
    }
  }
}
