package io.gracebeam.transforms.examples;

import io.gracebeam.transforms.client.Workers;
import io.gracebeam.transforms.stages.AnswerQuestions;
import io.gracebeam.transforms.stages.Artifact;
import io.gracebeam.transforms.stages.BenchmarkScore;
import io.gracebeam.transforms.stages.ReadBenchmark;
import io.gracebeam.transforms.stages.ScoreAnswers;
import java.nio.file.Path;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.io.TextIO;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.options.Validation.Required;
import org.apache.beam.sdk.transforms.MapElements;
import org.apache.beam.sdk.transforms.ToString;
import org.apache.beam.sdk.values.TypeDescriptors;

/** Asks a model the questions of POPE and writes its scores and what was refused. */
public final class EvaluateModel {
  private EvaluateModel() {}

  /** Options of the command line. */
  public interface Options extends PipelineOptions {
    /** Address of a worker, host:port. */
    @Required
    String getWorker();

    /** Sets the address. */
    void setWorker(String worker);

    /** Folder of the model. */
    @Required
    String getModel();

    /** Sets the model. */
    void setModel(String model);

    /** Folder with pope.json and benchmark-images. */
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
    Path dataset = Path.of(options.getDataset());
    Workers workers = Workers.of(options.getWorker());
    ReadBenchmark pope = ReadBenchmark.of("pope", dataset, Path.of(options.getOut(), "scratch"));
    Pipeline pipeline = Pipeline.create(options);

    AnswerQuestions.Result answered =
        pipeline
            .apply("Read", pope)
            .apply(
                "Answer",
                AnswerQuestions.on(workers)
                    .intoStore(options.getStore())
                    .withModel(Artifact.at("model", Path.of(options.getModel())))
                    .withImages(Artifact.at("images", dataset.resolve("benchmark-images")))
                    .withMaxNewTokens(16)
                    .withLabel("my-model/pope"));
    ScoreAnswers.Result scored =
        answered
            .units()
            .apply(
                "Score",
                ScoreAnswers.on(workers).intoStore(options.getStore()).withBenchmark(pope));

    scored
        .scores()
        .apply(
            "Lines",
            MapElements.into(TypeDescriptors.strings())
                .via((BenchmarkScore s) -> s.getModel() + " " + s.getMetrics().get("accuracy")))
        .apply("Scores", TextIO.write().to(options.getOut() + "/scores").withoutSharding());
    answered
        .errors()
        .apply("RefusedLines", ToString.elements())
        .apply("Refused", TextIO.write().to(options.getOut() + "/refused").withoutSharding());
    pipeline.run().waitUntilFinish();
  }
}
