package io.gracebeam.transforms.examples;

import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.Artifact;
import io.gracebeam.transforms.stages.ExtractTeacher;
import io.gracebeam.transforms.stages.GatherGateStatistics;
import io.gracebeam.transforms.statistics.GateStatistics;
import java.nio.file.Path;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.io.TextIO;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.options.Validation.Required;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.MapElements;
import org.apache.beam.sdk.transforms.ToString;
import org.apache.beam.sdk.values.TypeDescriptors;

/** Extracts a teacher's signals and writes how well its entropy tells its errors. */
public final class TeacherStatistics {
  private TeacherStatistics() {}

  /** Options of the command line. */
  public interface Options extends PipelineOptions {
    /** Address of a worker, host:port. */
    @Required
    String getWorker();

    /** Sets the address. */
    void setWorker(String worker);

    /** Folder of the teacher. */
    @Required
    String getTeacher();

    /** Sets the teacher. */
    void setTeacher(String teacher);

    /** Size of the teacher's vocabulary. */
    @Required
    Integer getVocabulary();

    /** Sets the size. */
    void setVocabulary(Integer vocabulary);

    /** Folder with train.json and images. */
    @Required
    String getDataset();

    /** Sets the dataset. */
    void setDataset(String dataset);

    /** Root of the artifact store. */
    @Required
    String getStore();

    /** Sets the store. */
    void setStore(String store);

    /** Folder for the results. */
    @Required
    String getOut();

    /** Sets the folder. */
    void setOut(String out);
  }

  /** Runs the pipeline. */
  public static void main(String[] args) {
    Options options = PipelineOptionsFactory.fromArgs(args).withValidation().as(Options.class);
    Pipeline pipeline = Pipeline.create(options);

    ExtractTeacher.Result extracted =
        pipeline
            .apply(Create.of(Artifact.at("dataset", Path.of(options.getDataset()))))
            .apply(
                "Extract",
                ExtractTeacher.on(Workers.of(options.getWorker()))
                    .intoStore(options.getStore())
                    .withTeacher(Artifact.at("model", Path.of(options.getTeacher())))
                    .withExamplesPerUnit(256));
    extracted
        .tokens()
        .apply("Gather", GatherGateStatistics.ofVocabulary(options.getVocabulary()))
        .statistics()
        .apply(
            "Lines",
            MapElements.into(TypeDescriptors.strings())
                .via(
                    (GateStatistics s) ->
                        s.count() + " " + s.figures().get(GateStatistics.ALL).pearson()))
        .apply("Statistics", TextIO.write().to(options.getOut() + "/gate").withoutSharding());
    extracted
        .errors()
        .apply("RefusedLines", ToString.elements())
        .apply("Refused", TextIO.write().to(options.getOut() + "/refused").withoutSharding());
    pipeline.run().waitUntilFinish();
  }
}
