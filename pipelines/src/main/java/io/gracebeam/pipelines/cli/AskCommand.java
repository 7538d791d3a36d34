package io.gracebeam.pipelines.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.pipelines.run.WorkerSet;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.transforms.client.WorkerPool;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code grace ask}: one question about one image. */
@Command(
    name = "ask",
    description = "Answers one question about an image.",
    mixinStandardHelpOptions = true)
final class AskCommand implements Callable<Integer> {
  @Option(names = "--model", required = true, paramLabel = "DIR", description = "Model folder.")
  Path model;

  @Option(names = "--image", required = true, paramLabel = "FILE", description = "Image.")
  Path image;

  @Parameters(paramLabel = "QUESTION", description = "What to ask.")
  String question;

  @Option(
      names = "--max-new-tokens",
      paramLabel = "N",
      description = "Longest answer; 64 by default.")
  int maxNewTokens = 64;

  @Option(names = "--workers", split = ",", paramLabel = "HOST:PORT", description = "Workers.")
  List<String> workers = List.of();

  @Mixin EngineOptions engine;

  @Option(names = "--json", description = "Token ids and log-probabilities too.")
  boolean json;

  @Spec CommandSpec spec;

  @Override
  public Integer call() {
    if (!Files.isDirectory(model)) {
      throw GraceException.user("--model: '%s' is no folder", model);
    }
    if (!Files.isRegularFile(image)) {
      throw GraceException.user("--image: '%s' is no file", image);
    }
    String own = EngineOptions.given(spec.commandLine().getParseResult());
    if (!workers.isEmpty() && own != null) {
      throw GraceException.user(
          "%s is given beside --workers, which have engines of their own; allowed: one of the two",
          own);
    }
    EngineSettings settings = engine.settings();
    GenerateRequest request =
        GenerateRequest.newBuilder()
            .setId("ask")
            .setModel(Artifacts.given("model", model))
            .setImages(Artifacts.given("images", image))
            .addQuestions(
                Question.newBuilder()
                    .setId("q")
                    .addImages(image.getFileName().toString())
                    .setPrompt(question))
            .setMaxNewTokens(maxNewTokens)
            .setBatch(1)
            .build();
    try (WorkerSet set = WorkerSet.open(workers, settings);
        WorkerPool pool = set.workers().open()) {
      GenerateResponse answer = pool.generate(request).get("q");
      if (answer == null || !answer.getError().isEmpty()) {
        throw GraceException.data(
            "%s", answer == null ? "the worker gave no answer" : answer.getError());
      }
      print(answer);
    }
    return 0;
  }

  private void print(GenerateResponse answer) {
    if (!json) {
      spec.commandLine().getOut().println(answer.getText());
    } else {
      ObjectNode node = new ObjectMapper().createObjectNode();
      node.put("text", answer.getText());
      answer.getTokenIdsList().forEach(node.withArray("/tokenIds")::add);
      answer.getLogProbsList().forEach(node.withArray("/logProbs")::add);
      spec.commandLine().getOut().println(node);
    }
    spec.commandLine().getOut().flush();
  }
}
