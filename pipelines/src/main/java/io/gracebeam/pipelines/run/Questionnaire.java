package io.gracebeam.pipelines.run;

import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.transforms.scoring.Benchmark;
import io.gracebeam.transforms.scoring.MmBench;
import io.gracebeam.transforms.scoring.OpenAnswers;
import io.gracebeam.transforms.scoring.Pope;
import io.gracebeam.transforms.scoring.PromptStyle;
import io.gracebeam.transforms.scoring.ScienceQa;
import io.gracebeam.transforms.scoring.Score;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * A benchmark of the recipe with the questions of it that are asked.
 *
 * @param name its name in the recipe
 * @param benchmark reader and scorer of its format
 * @param asked the questions, in the file's order
 * @param images folder of their images
 */
record Questionnaire(String name, Benchmark benchmark, List<Question> asked, ArtifactRef images) {

  /**
   * Opens a benchmark. Empty path and images mean the files that a dataset folder holds.
   *
   * @param spec the recipe's entry
   * @param dataset folder of the training set
   * @param scratch where a benchmark that carries its images may write them
   * @param limit most questions to ask; 0 for all. Questions that are scored together are asked
   *     together, so it may be fewer; the first such group is always asked
   */
  static Questionnaire open(
      io.gracebeam.proto.v1.Benchmark spec, Path dataset, Path scratch, int limit) {
    Benchmark benchmark = read(spec, dataset, scratch.resolve(spec.getName()));
    List<io.gracebeam.transforms.scoring.Question> all = benchmark.questions();
    if (all.isEmpty()) {
      throw GraceException.data("benchmark %s holds no question", spec.getName());
    }
    Set<String> units = units(benchmark, limit);
    List<Question> asked =
        all.stream()
            .filter(q -> units.contains(benchmark.unit(q)))
            .map(
                q ->
                    Question.newBuilder()
                        .setId(q.id())
                        .addAllImages(q.image().stream().toList())
                        .setPrompt(q.prompt())
                        .build())
            .toList();
    Path images = benchmark.imageFolder();
    if (!Files.isDirectory(images)) {
      throw GraceException.data("benchmark %s: %s is no folder of images", spec.getName(), images);
    }
    ArtifactRef ref =
        ArtifactRef.newBuilder()
            .setKind("images")
            .setSha256(Digests.sha256(images))
            .setUri(images.toAbsolutePath().toString())
            .build();
    return new Questionnaire(spec.getName(), benchmark, asked, ref);
  }

  /** The scored units that are asked: from the first on, as long as the limit allows. */
  private static Set<String> units(Benchmark benchmark, int limit) {
    Map<String, Integer> sizes = new LinkedHashMap<>();
    benchmark.questions().forEach(q -> sizes.merge(benchmark.unit(q), 1, Integer::sum));
    if (limit <= 0) {
      return sizes.keySet();
    }
    Set<String> units = new HashSet<>();
    int questions = 0;
    for (Map.Entry<String, Integer> unit : sizes.entrySet()) {
      questions += unit.getValue();
      if (questions > limit && !units.isEmpty()) {
        break;
      }
      units.add(unit.getKey());
    }
    return units;
  }

  private static Benchmark read(io.gracebeam.proto.v1.Benchmark spec, Path dataset, Path scratch) {
    Path images = place(spec.getImages(), dataset, "benchmark-images");
    PromptStyle style = PromptStyle.PLAIN;
    switch (spec.getFormat()) {
      case "pope":
        return Pope.read(file(spec, dataset, "pope.json"), images, style);
      case "open":
        return OpenAnswers.read(file(spec, dataset, "open.json"), images, style);
      case "scienceqa":
        Path problems = file(spec, dataset, "scienceqa.json");
        String name = problems.getFileName().toString();
        Path splits =
            problems.resolveSibling(
                name.equals("problems.json")
                    ? "pid_splits.json"
                    : name.replace(".json", "_split.json"));
        return ScienceQa.read(problems, splits, "test", images, style);
      case "mmbench":
        MmBench mmbench = MmBench.read(file(spec, dataset, "mmbench.tsv"), scratch, style, true);
        mmbench.writeImages();
        return mmbench;
      default:
        throw GraceException.user(
            "benchmark %s: format is '%s'; allowed: open, pope, scienceqa, mmbench",
            spec.getName(), spec.getFormat());
    }
  }

  private static Path file(io.gracebeam.proto.v1.Benchmark spec, Path dataset, String name) {
    return place(spec.getPath(), dataset, name);
  }

  /** A path as it stands, or inside the dataset's folder where it names nothing by itself. */
  private static Path place(String path, Path dataset, String otherwise) {
    if (path.isEmpty()) {
      return dataset.resolve(otherwise);
    }
    return Files.exists(Path.of(path)) ? Path.of(path) : dataset.resolve(path);
  }

  /** The scored units of the questions that were asked, by the benchmark's official rule. */
  List<Score.Answer> score(Map<String, String> answers) {
    List<Score.Answer> scored = benchmark.score(answers).answers();
    if (asked.size() == benchmark.questions().size()) {
      return scored;
    }
    Set<String> ids = asked.stream().map(Question::getId).collect(Collectors.toSet());
    Set<String> units =
        benchmark.questions().stream()
            .filter(question -> ids.contains(question.id()))
            .map(benchmark::unit)
            .collect(Collectors.toSet());
    return scored.stream().filter(answer -> units.contains(answer.id())).toList();
  }
}
