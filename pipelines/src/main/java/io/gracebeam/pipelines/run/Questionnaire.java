package io.gracebeam.pipelines.run;

import io.gracebeam.pipelines.plan.RunPlan;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Evaluation;
import io.gracebeam.transforms.scoring.Benchmark;
import io.gracebeam.transforms.scoring.BenchmarkFiles;
import io.gracebeam.transforms.scoring.BenchmarkFormat;
import io.gracebeam.transforms.scoring.Question;
import io.gracebeam.transforms.scoring.ScoringFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * A benchmark of the recipe with the questions of it that are asked.
 *
 * @param name its name in the recipe
 * @param format how its answers are scored
 * @param questions those that are asked, in the file's order
 * @param maxNewTokens longest answer, in tokens
 * @param images folder of their images; empty where no question has any
 */
record Questionnaire(
    String name,
    BenchmarkFormat format,
    List<Question> questions,
    int maxNewTokens,
    Optional<ArtifactRef> images) {

  /**
   * Opens a benchmark. Empty path and images mean the files that a dataset folder holds.
   *
   * @param spec the recipe's entry
   * @param evaluation most questions, and the longest answer unless the entry says one
   * @param dataset folder of the training set
   * @param scratch where a benchmark that carries its images may write them
   * @throws GraceException (user) where no plug-in has the format; (data) for damaged files
   */
  static Questionnaire open(
      io.gracebeam.proto.v1.Benchmark spec, Evaluation evaluation, Path dataset, Path scratch) {
    String name = spec.getName();
    BenchmarkFormat format = format(spec);
    BenchmarkFiles files =
        new BenchmarkFiles(name, spec.getPath(), spec.getImages(), dataset, scratch.resolve(name));
    Benchmark benchmark = format.read(files, format.promptStyle());
    if (benchmark.questions().isEmpty()) {
      throw GraceException.data("benchmark %s holds no question", name);
    }
    List<Question> asked = benchmark.first(evaluation.getMaxQuestions());
    int tokens =
        Stream.of(spec.getMaxNewTokens(), evaluation.getMaxNewTokens())
            .filter(most -> most > 0)
            .findFirst()
            .orElse(format.maxNewTokens());
    return new Questionnaire(
        name, format, asked, tokens, benchmark.imageFolder().map(folder -> images(name, folder)));
  }

  private static BenchmarkFormat format(io.gracebeam.proto.v1.Benchmark spec) {
    var formats = BenchmarkFormat.all();
    return formats
        .find(spec.getFormat())
        .orElseThrow(
            () ->
                GraceException.user(
                    "data.benchmarks: %s.format: '%s' is not allowed; allowed: %s",
                    spec.getName(), spec.getFormat(), String.join(", ", formats.names())));
  }

  private static ArtifactRef images(String name, Path folder) {
    if (!Files.isDirectory(folder)) {
      throw GraceException.data("benchmark %s: %s is no folder of images", name, folder);
    }
    return Artifacts.given("images", folder);
  }

  /** What the models are asked. */
  RunPlan.Asked asked() {
    return new RunPlan.Asked(
        questions.stream()
            .map(
                question ->
                    io.gracebeam.proto.v1.Question.newBuilder()
                        .setId(question.id())
                        .addAllImages(question.images())
                        .setPrompt(question.prompt())
                        .build())
            .toList(),
        maxNewTokens,
        format.name());
  }

  /** Writes what is asked, with the right answers, for the stage that scores. */
  ArtifactRef write(Path folder) {
    try {
      Files.createDirectories(folder);
      ScoringFiles.writeQuestions(folder, questions);
    } catch (IOException e) {
      throw ArtifactStore.cannotWrite(folder, e);
    }
    return Artifacts.given("questions", folder);
  }
}
