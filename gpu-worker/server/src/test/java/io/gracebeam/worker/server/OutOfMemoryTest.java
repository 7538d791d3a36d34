package io.gracebeam.worker.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import com.google.common.collect.ImmutableList;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.Statuses;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.ModelShape;
import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.Operation.State;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.engine.Engines;
import io.gracebeam.worker.server.testing.ScriptedMethods;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Work that wants more memory than there is, or uses what was given back: the worker lives on. */
@Timeout(120)
class OutOfMemoryTest {
  /** Numbers that no machine has room for. */
  private static final long ABSURD = 1L << 45;

  @TempDir Path folder;

  @Test
  void arrayThatIsTooLargeIsTheEnvironments() {
    everywhere(
        manager -> manager.create(new Shape(ABSURD), DataType.FLOAT32),
        Category.ENVIRONMENT,
        "out of memory",
        Long.toString(ABSURD));
  }

  @Test
  void resultThatIsTooLargeIsTheEnvironmentsAndNamesTheOperator() {
    everywhere(
        manager -> {
          NDArray column = manager.zeros(new Shape(1 << 22, 1));
          NDArray row = manager.zeros(new Shape(1, 1 << 22));
          column.add(row);
        },
        Category.ENVIRONMENT,
        "out of memory in add",
        "(4194304, 1)");
  }

  @Test
  void heapThatIsTooSmallIsTheEnvironmentsAndSaysWhere() {
    everywhere(
        manager -> {
          long[][] all = new long[2][];
          Arrays.setAll(all, i -> new long[Integer.MAX_VALUE]);
        },
        Category.ENVIRONMENT,
        "out of memory in OutOfMemoryTest.",
        "GRACE_HEAP");
  }

  @Test
  void arrayOfAClosedManagerIsABug() {
    everywhere(
        manager -> {
          NDArray array;
          try (NDManager own = manager.newSubManager()) {
            array = own.zeros(new Shape(3));
          }
          array.add(1);
        },
        Category.BUG,
        "IllegalStateException",
        "closed");
  }

  @Test
  void absurdModelIsTheEnvironmentsAndTheNextIsMade() throws IOException {
    TinyWork tiny = new TinyWork(folder);
    ArtifactRef dataset = tiny.dataset();
    ModelShape absurd = TinyWork.shape().toBuilder().setWidth(32768).setMlp(32768).build();
    try (WorkerServer server =
        WorkerServer.start(
            WorkerSettings.defaults(), new GraceMethods(TinyWork.engine().build()))) {
      ManagedChannel channel =
          NettyChannelBuilder.forAddress("127.0.0.1", server.port()).usePlaintext().build();
      try {
        WorkerGrpc.WorkerBlockingStub stub = WorkerGrpc.newBlockingStub(channel);
        stub.submit(tiny.prepare("absurd", dataset, absurd));
        Operation failed = TinyWork.last(stub, "absurd");
        assertThat(failed.getState()).isEqualTo(State.FAILED);
        assertThat(failed.getErrorCategory()).isEqualTo("environment");
        assertThat(failed.getMessage()).startsWith("out of memory in ");
        TinyWork.run(stub, tiny.prepare("normal", dataset, TinyWork.shape()));
      } finally {
        channel.shutdownNow();
      }
    }
  }

  /** Fails in an operation and in an answer; either says it in one line, and the next succeeds. */
  private void everywhere(Consumer<NDManager> failing, Category category, String... texts) {
    EngineHandle engine = Engines.open(TinyWork.engine().build());
    AtomicReference<Consumer<NDManager>> work = new AtomicReference<>(failing);
    Runnable run =
        () -> {
          try (NDManager manager = engine.engine().newBaseManager(engine.device())) {
            work.get().accept(manager);
          }
        };
    ScriptedMethods methods =
        new ScriptedMethods().inOperation((request, out, progress) -> run.run()).inAnswer(run);
    try (Loopback worker = new Loopback(folder, WorkerSettings.defaults(), methods)) {
      worker.timed().submit(worker.train("a"));
      Operation failed = worker.last("a");
      assertThat(failed.getState()).isEqualTo(State.FAILED);
      assertThat(failed.getErrorCategory()).isEqualTo(category.wireName());
      assertThat(failed.getMessage()).contains(texts).doesNotContain("\n");

      GenerateRequest ask =
          GenerateRequest.newBuilder()
              .setModel(worker.input("model"))
              .addQuestions(Question.newBuilder().setId("q").setPrompt("hello"))
              .setMaxNewTokens(1)
              .build();
      assertThatThrownBy(() -> answers(worker, ask))
          .isInstanceOfSatisfying(
              StatusRuntimeException.class,
              e -> {
                Status.Code code =
                    category == Category.BUG ? Status.Code.INTERNAL : Statuses.codeOf(category);
                assertThat(e.getStatus().getCode()).isEqualTo(code);
                assertThat(Statuses.fromStatus(e).category()).isEqualTo(category);
                assertThat(e.getStatus().getDescription()).contains(texts).doesNotContain("\n");
              });

      work.set(manager -> manager.zeros(new Shape(3)).add(1));
      assertThat(answers(worker, ask))
          .hasSize(1)
          .first()
          .returns("HELLO", GenerateResponse::getText);
      worker.timed().submit(worker.train("a"));
      assertThat(worker.last("a").getState()).isEqualTo(State.SUCCEEDED);
    }
  }

  private static List<GenerateResponse> answers(Loopback worker, GenerateRequest request) {
    return ImmutableList.copyOf(worker.timed().generate(request));
  }
}
