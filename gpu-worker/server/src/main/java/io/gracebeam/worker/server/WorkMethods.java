package io.gracebeam.worker.server;

import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.GenerateResponse;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.proto.v1.Question;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.function.Consumer;

/**
 * What the services need from the numerical side. Implementations throw {@link
 * io.gracebeam.proto.error.GraceException} with the category that decides who acts; anything else
 * that they throw counts as a bug.
 */
public interface WorkMethods extends AutoCloseable {

  /** Names the engine for handshake and manifests. */
  EngineFacts facts();

  /** Kinds of stages that {@link #run} can run, sorted: names of rows of the stage table. */
  List<String> capabilities();

  /**
   * Loads a model folder for {@link #extract} and {@link LoadedModel#answer}.
   *
   * @param folder verified folder of a dense or compressed-tensors checkpoint
   */
  LoadedModel load(Path folder);

  /**
   * Writes the teacher signals of one unit.
   *
   * @param teacher a model of {@link #load}
   * @param request the unit; its references are verified
   * @param dataset verified dataset folder
   * @param out fresh empty folder
   * @param sink takes one signal per requested example, in order, bad examples included with their
   *     error
   * @return small facts for the manifest, such as bytes per token; equal in every correct run
   */
  Map<String, Double> extract(
      LoadedModel teacher,
      ExtractRequest request,
      Path dataset,
      Path out,
      Consumer<ExampleSignal> sink,
      Progress progress);

  /**
   * Runs one operation.
   *
   * @param request the operation
   * @param inputs verified input folders by role
   * @param out fresh empty folder
   * @return small facts for the manifest; equal in every correct run
   */
  Map<String, Double> run(
      OperationRequest request, SortedMap<String, Path> inputs, Path out, Progress progress);

  @Override
  void close();

  /** A model in memory. Closed by the cache that loaded it, when the last user has returned it. */
  interface LoadedModel extends AutoCloseable {
    /**
     * Refuses a question that cannot be answered, whatever other questions there are.
     *
     * @throws io.gracebeam.proto.error.GraceException (data, user) with the reason; also where the
     *     model takes another number of images
     */
    void check(Asked asked);

    /**
     * Greedy answers, one per question and in the same order.
     *
     * @throws io.gracebeam.proto.error.GraceException (data, user) where one of the questions is
     *     bad; none is answered then
     */
    List<GenerateResponse> answer(List<Asked> asked, int maxNewTokens);

    @Override
    void close();
  }

  /**
   * A question whose images were found.
   *
   * @param question as it came
   * @param images files of its images, in its order; each exists and lies in the request's images
   */
  record Asked(Question question, List<Path> images) {
    /** Copies the list. */
    public Asked {
      images = List.copyOf(images);
    }
  }

  /** Progress of a piece of work; polled and told at least once per optimizer step or batch. */
  interface Progress {
    /**
     * Says how far the work is.
     *
     * @param fraction 0..1
     * @param what one line
     * @throws java.util.concurrent.CancellationException if the work should stop
     */
    void report(double fraction, String what);

    /** Whether the work should stop. */
    boolean canceled();
  }

  /**
   * Names an engine.
   *
   * @param description for people, such as "PyTorch 2.7.1 cpu, 2 threads"
   * @param digest part of every stage key
   * @param device processor or accelerator name
   */
  record EngineFacts(String description, String digest, String device) {}
}
