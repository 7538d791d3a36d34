package io.gracebeam.transforms.stages;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.Engine;
import io.gracebeam.transforms.client.WorkerPool;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;

/** Questions of one unit; publishes the answers itself, since the worker only streams them. */
final class AnswerCall implements StageCall {
  private static final long serialVersionUID = 1L;

  /**
   * Questions with each absolute image path replaced by the file's digest, so that the key holds on
   * any machine.
   */
  @Override
  public Message keyPart(StageTask task, Map<String, ArtifactRef> inputs) {
    GenerateRequest template = template(task);
    GenerateRequest.Builder part = template.toBuilder().clearId().clearModel().clearQuestions();
    for (Question question : template.getQuestionsList()) {
      part.addQuestions(question.toBuilder().setImage(imageKey(question.getImage())));
    }
    return part.build();
  }

  private static String imageKey(String image) {
    if (image.isEmpty() || !Path.of(image).isAbsolute()) {
      return image;
    }
    Path file = Path.of(image);
    return Files.isRegularFile(file)
        ? "sha256:" + Digests.sha256(file)
        : "missing:" + file.getFileName();
  }

  @Override
  public Completed call(
      WorkerPool pool,
      ArtifactStore store,
      String stageKey,
      StageTask task,
      Map<String, ArtifactRef> inputs) {
    long start = System.nanoTime();
    GenerateRequest.Builder request =
        template(task).toBuilder().setId(stageKey).setModel(Requests.input(task, inputs, "model"));
    for (Question.Builder question : request.getQuestionsBuilderList()) {
      question.setImage(imagePath(task, question.getImage(), inputs));
    }
    SortedMap<String, GenerateResponse> answers = pool.generate(request.build());
    double seconds = (System.nanoTime() - start) / 1e9;
    return new Completed(publish(pool.engine(), store, stageKey, task, inputs, answers), seconds);
  }

  private static String imagePath(StageTask task, String image, Map<String, ArtifactRef> inputs) {
    if (image.isEmpty() || Path.of(image).isAbsolute()) {
      return image;
    }
    return Path.of(Requests.input(task, inputs, "images").getUri()).resolve(image).toString();
  }

  private static Manifest publish(
      Engine engine,
      ArtifactStore store,
      String stageKey,
      StageTask task,
      Map<String, ArtifactRef> inputs,
      SortedMap<String, GenerateResponse> answers) {
    Manifest.Builder partial = Requests.partial("answers", stageKey, task, inputs, engine);
    partial.putMeasures("questions", answers.size());
    partial.putMeasures(
        "refused",
        answers.values().stream().filter(answer -> !answer.getError().isEmpty()).count());
    return Requests.publish(
        store,
        stageKey,
        partial,
        folder -> Answers.write(folder.resolve(Answers.FILE), answers.values()));
  }

  @Override
  public List<DeadLetter> refused(StageTask task, Manifest manifest) {
    List<DeadLetter> refused = new ArrayList<>();
    for (GenerateResponse answer : Answers.read(Path.of(manifest.getArtifact().getUri()))) {
      if (!answer.getError().isEmpty()) {
        refused.add(
            DeadLetter.of(task.getStage(), task.getId(), answer.getId(), answer.getError()));
      }
    }
    return refused;
  }

  private static GenerateRequest template(StageTask task) {
    try {
      return GenerateRequest.parseFrom(task.getRequest());
    } catch (InvalidProtocolBufferException e) {
      throw GraceException.bug(
              "%s: the request is no GenerateRequest: %s", task.getId(), e.getMessage())
          .withCause(e);
    }
  }
}
