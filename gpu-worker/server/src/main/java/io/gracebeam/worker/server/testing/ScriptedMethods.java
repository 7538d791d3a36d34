package io.gracebeam.worker.server.testing;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.stage.Executor;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.stage.StageTable;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.TokenSignal;
import io.gracebeam.worker.server.WorkMethods;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;

/**
 * Work without an engine: deterministic files and answers, made from the request alone. An
 * operation writes its seed, its kind and the sorted names of its inputs to {@code result.txt}; an
 * answer is the prompt in upper case.
 */
public final class ScriptedMethods implements WorkMethods {

  /** Runs inside an operation, before it writes its result. */
  @FunctionalInterface
  public interface Step {
    /** May report, wait, look for cancellation or throw. */
    void run(OperationRequest request, Path out, Progress progress);
  }

  private final AtomicInteger operations = new AtomicInteger();
  private final AtomicInteger extractions = new AtomicInteger();
  private final AtomicInteger loaded = new AtomicInteger();
  private final AtomicInteger unloaded = new AtomicInteger();
  private volatile Step step = (request, out, progress) -> progress.report(0.5, "half way");
  private volatile Runnable beforeAnswer = () -> {};
  private volatile boolean closed;

  /** Runs a step in every operation from now on. */
  public ScriptedMethods inOperation(Step newStep) {
    step = newStep;
    return this;
  }

  /** Runs a task before each batch of answers from now on. */
  public ScriptedMethods inAnswer(Runnable task) {
    beforeAnswer = task;
    return this;
  }

  /** Operations that were begun. */
  public int operations() {
    return operations.get();
  }

  /** Units that were computed. */
  public int extractions() {
    return extractions.get();
  }

  /** Models that were loaded so far. */
  public int loaded() {
    return loaded.get();
  }

  /** Models that were closed so far. */
  public int unloaded() {
    return unloaded.get();
  }

  /** Whether the worker has closed it. */
  public boolean closed() {
    return closed;
  }

  @Override
  public EngineFacts facts() {
    return new EngineFacts("scripted", "0".repeat(64), "none");
  }

  @Override
  public List<String> capabilities() {
    return StageTable.load().all().stream()
        .filter(kind -> kind.executor() == Executor.WORKER)
        .filter(kind -> !kind.does(ExtractRequest.getDefaultInstance()))
        .filter(kind -> !kind.does(GenerateRequest.getDefaultInstance()))
        .map(StageKind::name)
        .toList();
  }

  @Override
  public LoadedModel load(Path folder) {
    loaded.incrementAndGet();
    return new LoadedModel() {
      @Override
      public void check(Asked asked) {
        if (asked.question().getPrompt().startsWith("refuse")) {
          throw GraceException.data("question %s cannot be answered", asked.question().getId());
        }
      }

      @Override
      public List<GenerateResponse> answer(List<Asked> asked, int maxNewTokens) {
        beforeAnswer.run();
        List<GenerateResponse> answers = new ArrayList<>();
        for (Asked one : asked) {
          check(one);
          Question question = one.question();
          answers.add(
              GenerateResponse.newBuilder()
                  .setId(question.getId())
                  .setText(question.getPrompt().toUpperCase(java.util.Locale.ROOT))
                  .build());
        }
        return answers;
      }

      @Override
      public void close() {
        unloaded.incrementAndGet();
      }
    };
  }

  @Override
  public Map<String, Double> extract(
      LoadedModel teacher,
      ExtractRequest request,
      Path dataset,
      Path out,
      Consumer<ExampleSignal> sink,
      Progress progress) {
    extractions.incrementAndGet();
    for (int i = 0; i < request.getCount(); i++) {
      progress.report((double) i / request.getCount(), "example " + i);
      long index = request.getFirst() + i;
      ExampleSignal.Builder signal = ExampleSignal.newBuilder().setId("example-" + index);
      if (index % 5 == 3) {
        signal.setError("image of example " + index + " is truncated");
      } else {
        signal.addTokens(TokenSignal.newBuilder().setEntropy(index).setCorrect(true));
      }
      sink.accept(signal.build());
    }
    write(out.resolve("signals.txt"), request.getFirst() + "+" + request.getCount());
    return Map.of("bytesPerToken", 12.0);
  }

  @Override
  public Map<String, Double> run(
      OperationRequest request, SortedMap<String, Path> inputs, Path out, Progress progress) {
    operations.incrementAndGet();
    write(out.resolve("half.txt"), "half");
    step.run(request, out, progress);
    write(
        out.resolve("result.txt"),
        request.getStage() + " " + request.getSeed() + " " + inputs.keySet());
    return Map.of("loss", 1.25);
  }

  @Override
  public void close() {
    closed = true;
  }

  private static void write(Path file, String text) {
    try {
      Files.writeString(file, text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
