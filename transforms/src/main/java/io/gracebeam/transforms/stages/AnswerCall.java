package io.gracebeam.transforms.stages;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.Engine;
import io.gracebeam.transforms.client.WorkerPool;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;

/** Questions of one unit; publishes the answers itself, since the worker only streams them. */
final class AnswerCall implements StageCall {
  private static final long serialVersionUID = 1L;

  /** The questions; model and images are inputs. */
  @Override
  public Message keyPart(StageTask task, Map<String, ArtifactRef> inputs) {
    return template(task).toBuilder().clearId().clearModel().clearImages().build();
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
    if (request.getQuestionsList().stream().anyMatch(question -> question.getImagesCount() > 0)) {
      request.setImages(Requests.input(task, inputs, "images"));
    }
    SortedMap<String, GenerateResponse> answers = pool.generate(request.build());
    double seconds = (System.nanoTime() - start) / 1e9;
    return new Completed(publish(pool.engine(), store, stageKey, task, inputs, answers), seconds);
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
