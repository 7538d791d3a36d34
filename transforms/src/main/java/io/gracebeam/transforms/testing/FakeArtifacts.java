package io.gracebeam.transforms.testing;

import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.stage.StageTable;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.TokenSignal;
import io.gracebeam.proto.worker.Builds;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** What fake workers publish: a pure function of the request and the digests of its inputs. */
final class FakeArtifacts {
  private static final List<String> TYPES = List.of("open", "yesno", "count");

  private FakeArtifacts() {}

  static Manifest operation(ArtifactStore store, OperationRequest request, String engine) {
    StringBuilder content = new StringBuilder(request.getId()).append('\n');
    new TreeMap<>(request.getInputsMap())
        .forEach(
            (role, input) ->
                content.append(role).append(' ').append(input.getSha256()).append('\n'));
    String kind = StageTable.load().get(request.getStage()).output();
    String file = kind.equals("trained") ? "model/model.txt" : kind + ".txt";
    return publish(
        store,
        partial(
            kind,
            request.getStage(),
            request.getId(),
            request.getInputsMap(),
            request.getSeed(),
            engine),
        Map.of(file, content.toString().getBytes(StandardCharsets.UTF_8)));
  }

  static Manifest signals(
      ArtifactStore store, ExtractRequest request, List<ExampleSignal> examples, String engine) {
    ByteArrayOutputStream tokens = new ByteArrayOutputStream();
    try {
      for (ExampleSignal example : examples) {
        example.writeDelimitedTo(tokens);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return publish(
        store,
        partial(
            "teacher-signals",
            "extract",
            request.getId(),
            Map.of("teacher", request.getTeacher(), "dataset", request.getDataset()),
            0,
            engine),
        Map.of("tokens.pb", tokens.toByteArray()));
  }

  /** Examples {@code ex-FIRST ..}, each with one to three tokens. */
  static List<ExampleSignal> examples(ExtractRequest request, Set<String> bad) {
    List<ExampleSignal> examples = new ArrayList<>();
    for (long i = request.getFirst(); i < request.getFirst() + request.getCount(); i++) {
      ExampleSignal.Builder example = ExampleSignal.newBuilder().setId("ex-" + i);
      if (bad.contains(example.getId())) {
        example.setError("image of " + example.getId() + " is not an image");
      } else {
        for (long t = 0; t <= i % 3; t++) {
          float doubt = ((i * 7 + t * 3) % 10) / 10f;
          example.addTokens(
              TokenSignal.newBuilder()
                  .setEntropy(doubt)
                  .setTargetLogProb(-doubt - 0.1f)
                  .setCorrect((i + t) % 4 != 0)
                  .setTopProbability(1 - doubt / 2)
                  .setType(TYPES.get((int) (i % TYPES.size()))));
        }
      }
      examples.add(example.build());
    }
    return examples;
  }

  /** As a worker, refuses a question whose images are not there. */
  static GenerateResponse answer(GenerateRequest request, Question question, Set<String> bad) {
    ArtifactRef model = request.getModel();
    GenerateResponse.Builder answer = GenerateResponse.newBuilder().setId(question.getId());
    for (String image : question.getImagesList()) {
      if (!Artifacts.holds(request.getImages(), image)) {
        return answer.setError("image '" + image + "' does not exist").build();
      }
    }
    if (bad.contains(question.getId())) {
      return answer.setError("image of " + question.getId() + " is not an image").build();
    }
    String digest =
        Digests.sha256((model.getSha256() + question.getPrompt()).getBytes(StandardCharsets.UTF_8));
    int first = Integer.parseInt(digest.substring(0, 4), 16);
    answer
        .setText("answer " + digest.substring(0, 8))
        .addTokenIds(first)
        .addLogProbs(-first / 65536f);
    for (int i = 0; i < question.getChoicesCount(); i++) {
      answer.addChoiceLogProbs(-(first % (i + 2)) - 0.5f);
    }
    return answer.build();
  }

  private static Manifest.Builder partial(
      String kind,
      String stage,
      String key,
      Map<String, ArtifactRef> inputs,
      long seed,
      String engine) {
    Manifest.Builder partial =
        Manifest.newBuilder()
            .setStage(stage)
            .setStageKey(key)
            .putTools("grace-beam", Builds.current())
            .putTools("engine", engine)
            .setSeed(seed)
            .setHardware("loopback");
    inputs.forEach((role, ref) -> partial.putInputs(role, ref.toBuilder().clearUri().build()));
    partial.getArtifactBuilder().setKind(kind);
    return partial;
  }

  private static Manifest publish(
      ArtifactStore store, Manifest.Builder partial, Map<String, byte[]> files) {
    Path folder = store.begin(partial.getStageKey());
    try {
      for (Map.Entry<String, byte[]> file : files.entrySet()) {
        Path path = folder.resolve(file.getKey());
        Files.createDirectories(path.getParent());
        Files.write(path, file.getValue());
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return store.publish(folder, partial);
  }
}
