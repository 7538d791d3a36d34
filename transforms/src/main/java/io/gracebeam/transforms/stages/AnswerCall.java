package io.gracebeam.transforms.stages;

import com.google.protobuf.Message;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.transforms.client.Completed;
import io.gracebeam.transforms.client.Engine;
import io.gracebeam.transforms.client.WorkerPool;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;

/** Questions of one unit; publishes the answers itself, since the worker only streams them. */
final class AnswerCall implements StageCall {

  /** The questions; model and images are inputs. */
  @Override
  public Message keyPart(Message work) {
    return ((GenerateRequest) work).toBuilder().clearId().clearModel().clearImages().build();
  }

  @Override
  public Completed call(WorkerPool pool, Job job) {
    long start = System.nanoTime();
    GenerateRequest.Builder request =
        ((GenerateRequest) job.work())
            .toBuilder().setId(job.key()).setModel(job.inputs().get("model"));
    if (request.getQuestionsList().stream().anyMatch(question -> question.getImagesCount() > 0)) {
      request.setImages(images(job));
    }
    SortedMap<String, GenerateResponse> answers = pool.generate(request.build());
    double seconds = (System.nanoTime() - start) / 1e9;
    return new Completed(publish(job, pool.engine(), answers), seconds);
  }

  private static ArtifactRef images(Job job) {
    ArtifactRef images = job.inputs().get("images");
    if (images == null) {
      throw GraceException.user(
          "%s: a question names an image, and input 'images' is missing; given: %s",
          job.task().getId(), job.inputs().keySet());
    }
    return images;
  }

  private static Manifest publish(
      Job job, Engine engine, SortedMap<String, GenerateResponse> answers) {
    Manifest.Builder partial = Requests.partial(job, engine);
    partial.putMeasures("questions", answers.size());
    partial.putMeasures(
        "refused",
        answers.values().stream().filter(answer -> !answer.getError().isEmpty()).count());
    return Requests.publish(
        job,
        partial,
        Map.of(),
        folder -> Answers.write(folder.resolve(Answers.FILE), answers.values()));
  }

  @Override
  public List<DeadLetter> refused(StageTask task, Manifest manifest) {
    List<DeadLetter> refused = new ArrayList<>();
    for (GenerateResponse answer : Answers.read(manifest.getArtifact())) {
      if (!answer.getError().isEmpty()) {
        refused.add(
            DeadLetter.of(task.getStage(), task.getId(), answer.getId(), answer.getError()));
      }
    }
    return refused;
  }
}
