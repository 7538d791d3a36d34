package io.gracebeam.worker.server;

import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.ExtractResponse;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.worker.server.WorkMethods.Asked;
import io.gracebeam.worker.server.WorkMethods.LoadedModel;
import io.gracebeam.worker.server.WorkMethods.Progress;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.function.Function;

/** Extract and Generate: verify, borrow the model, work batch by batch, keep bad items apart. */
final class Inference {
  /**
   * Signals of the unit's examples, length-delimited, beside the tensors: a repeated call answers
   * from it.
   */
  static final String EXAMPLES = "examples.pb";

  private static final int MOST_EXAMPLES = 1 << 20;
  private static final int MOST_BATCH = 4096;
  private static final int MOST_NEW_TOKENS = 1 << 16;

  private final WorkMethods methods;
  private final References references;
  private final Publisher publisher;
  private final ModelCache models;

  Inference(WorkMethods methods, References references, Publisher publisher, ModelCache models) {
    this.methods = methods;
    this.references = references;
    this.publisher = publisher;
    this.models = models;
  }

  /**
   * Streams the signals of a unit and publishes its tensors; a published unit is read, not
   * computed.
   */
  void extract(ExtractRequest request, Outbox<ExtractResponse> outbox) {
    String id = References.id(request.getId());
    range("count", request.getCount(), 1, MOST_EXAMPLES);
    URI root = publisher.root(request.getStore());
    Optional<Manifest> published = publisher.find(root, id);
    if (published.isPresent()) {
      replay(published.get(), outbox);
      return;
    }
    Path teacher = references.verify("teacher", request.getTeacher());
    Path dataset = references.verify("dataset", request.getDataset());
    Map<String, ArtifactRef> inputs = new TreeMap<>();
    inputs.put("teacher", request.getTeacher());
    inputs.put("dataset", request.getDataset());
    Manifest manifest;
    try (ModelCache.Lease lease =
        models.lease(request.getTeacher().getSha256(), () -> methods.load(teacher))) {
      manifest =
          publisher.publish(
              root,
              id,
              "extract",
              "teacher-signals",
              inputs,
              0,
              temp -> compute(lease.model(), request, dataset, temp, outbox));
    }
    outbox.send(ExtractResponse.newBuilder().setArtifact(manifest).build());
  }

  private Map<String, Double> compute(
      LoadedModel teacher,
      ExtractRequest request,
      Path dataset,
      Path temp,
      Outbox<ExtractResponse> outbox) {
    Path file = temp.resolve(EXAMPLES);
    List<String> ids = new ArrayList<>();
    Map<String, Double> measures;
    try (OutputStream examples = new BufferedOutputStream(Files.newOutputStream(file))) {
      measures =
          methods.extract(
              teacher,
              request,
              dataset,
              temp,
              signal -> {
                ids.add(signal.getId());
                write(signal, examples);
                outbox.send(ExtractResponse.newBuilder().setExample(signal).build());
              },
              progress(outbox));
    } catch (IOException e) {
      throw ArtifactStore.cannotWrite(file, e);
    } catch (UncheckedIOException e) {
      throw ArtifactStore.cannotWrite(file, e.getCause());
    }
    if (ids.size() != request.getCount()) {
      throw GraceException.bug(
          "extract %s: %d signals for %d examples",
          request.getId(), ids.size(), request.getCount());
    }
    return measures;
  }

  private static void write(ExampleSignal signal, OutputStream out) {
    try {
      signal.writeDelimitedTo(out);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void replay(Manifest manifest, Outbox<ExtractResponse> outbox) {
    Path folder = references.verify("published signals", manifest.getArtifact());
    Path file = folder.resolve(EXAMPLES);
    try (InputStream in = new BufferedInputStream(Files.newInputStream(file))) {
      for (ExampleSignal signal = ExampleSignal.parseDelimitedFrom(in);
          signal != null;
          signal = ExampleSignal.parseDelimitedFrom(in)) {
        outbox.send(ExtractResponse.newBuilder().setExample(signal).build());
      }
    } catch (IOException e) {
      throw GraceException.data("'%s' cannot be read: %s", file, e.getMessage()).withCause(e);
    }
    outbox.send(ExtractResponse.newBuilder().setArtifact(manifest).build());
  }

  /** Streams one answer per question, in order. */
  void generate(GenerateRequest request, Outbox<GenerateResponse> outbox) {
    int batch = range("batch", request.getBatch() == 0 ? 1 : request.getBatch(), 1, MOST_BATCH);
    int tokens = range("max_new_tokens", request.getMaxNewTokens(), 1, MOST_NEW_TOKENS);
    Path folder = references.verify("model", request.getModel());
    Optional<Path> images =
        request.hasImages()
            ? Optional.of(references.verify("images", request.getImages()))
            : Optional.empty();
    try (ModelCache.Lease lease =
        models.lease(request.getModel().getSha256(), () -> methods.load(folder))) {
      List<Question> questions = request.getQuestionsList();
      for (int first = 0; first < questions.size(); first += batch) {
        if (outbox.canceled()) {
          throw new CancellationException();
        }
        List<Question> part = questions.subList(first, Math.min(first + batch, questions.size()));
        for (GenerateResponse answer : answers(lease.model(), part, images, tokens)) {
          outbox.send(answer);
        }
      }
    }
  }

  /** Answers a batch; questions whose images are not there never reach the model. */
  private List<GenerateResponse> answers(
      LoadedModel model, List<Question> batch, Optional<Path> images, int tokens) {
    return answerGood(
        batch,
        question -> question,
        question -> asked(question, images),
        good -> isolate(model, good, tokens));
  }

  private Asked asked(Question question, Optional<Path> images) {
    if (question.getImagesCount() > 0 && images.isEmpty()) {
      throw GraceException.data(
          "question %s names images, but the request has none; allowed: an artifact of images"
              + " beside the questions",
          Lines.oneLine(question.getId()));
    }
    return new Asked(
        question,
        question.getImagesList().stream()
            .map(name -> references.inside("image", images.orElseThrow(), name))
            .toList());
  }

  /**
   * If a batch fails for its data, the questions that cannot be answered are found and the others
   * answered together. Where no question is bad by itself, each is asked alone.
   */
  private static List<GenerateResponse> isolate(
      LoadedModel model, List<Asked> questions, int tokens) {
    try {
      List<GenerateResponse> answers = model.answer(questions, tokens);
      if (answers.size() != questions.size()) {
        throw GraceException.bug("%d answers for %d questions", answers.size(), questions.size());
      }
      return answers;
    } catch (GraceException e) {
      if (!isOfData(e)) {
        throw e;
      }
      if (questions.size() == 1) {
        return List.of(bad(questions.get(0).question(), e));
      }
      return answerGood(
          questions,
          Asked::question,
          asked -> {
            model.check(asked);
            return asked;
          },
          good ->
              good.size() < questions.size()
                  ? isolate(model, good, tokens)
                  : good.stream()
                      .flatMap(asked -> isolate(model, List.of(asked), tokens).stream())
                      .toList());
    }
  }

  /**
   * One answer per item, in order: the reason of those that cannot be asked, else the answer.
   *
   * @param question the question of an item
   * @param accept makes an item ready, or refuses it
   * @param answer answers all that are ready
   */
  private static <T> List<GenerateResponse> answerGood(
      List<T> items,
      Function<T, Question> question,
      Function<T, Asked> accept,
      Function<List<Asked>, List<GenerateResponse>> answer) {
    Map<Integer, GenerateResponse> refused = new HashMap<>();
    List<Asked> good = new ArrayList<>();
    for (int i = 0; i < items.size(); i++) {
      try {
        good.add(accept.apply(items.get(i)));
      } catch (GraceException e) {
        if (!isOfData(e)) {
          throw e;
        }
        refused.put(i, bad(question.apply(items.get(i)), e));
      }
    }
    List<GenerateResponse> answers = good.isEmpty() ? List.of() : answer.apply(good);
    List<GenerateResponse> all = new ArrayList<>();
    int next = 0;
    for (int i = 0; i < items.size(); i++) {
      String id = question.apply(items.get(i)).getId();
      all.add(
          refused.containsKey(i)
              ? refused.get(i)
              : answers.get(next++).toBuilder().setId(id).build());
    }
    return all;
  }

  private static boolean isOfData(GraceException error) {
    return error.category() == Category.DATA || error.category() == Category.USER;
  }

  private static GenerateResponse bad(Question question, GraceException error) {
    return GenerateResponse.newBuilder()
        .setId(question.getId())
        .setError(Lines.oneLine(error.getMessage()))
        .build();
  }

  private static int range(String what, int value, int least, int most) {
    if (value < least || value > most) {
      throw GraceException.user("%s: %d is not in %d..%d", what, value, least, most);
    }
    return value;
  }

  private static Progress progress(Outbox<?> outbox) {
    return new Progress() {
      @Override
      public void report(double fraction, String what) {
        if (outbox.canceled()) {
          throw new CancellationException();
        }
      }

      @Override
      public boolean canceled() {
        return outbox.canceled();
      }
    };
  }
}
