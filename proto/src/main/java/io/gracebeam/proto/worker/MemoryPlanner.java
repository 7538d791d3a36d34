package io.gracebeam.proto.worker;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;

/**
 * Computes the memory of a deployed model from its sizes alone. Found by {@link ServiceLoader} like
 * the embedded worker, because only the worker knows the layout of weights in memory.
 */
public interface MemoryPlanner {
  /**
   * What is asked.
   *
   * @param bits of the decoder's weights where they are quantized: 2, 3, 4 or 8
   * @param groupSize elements per scale; -1 for one scale per row
   * @param positions of one sequence, prompt and answer
   */
  record Question(int bits, int groupSize, int positions) {}

  /**
   * Bytes of one layout while it decodes one sequence.
   *
   * @param layout what is quantized
   * @param weights of all parts, as they lie in memory
   * @param cache keys and values
   * @param scratch space that the decoder computes in
   */
  record Row(String layout, long weights, long cache, long scratch) {
    /** All together. */
    public long peak() {
      return weights + cache + scratch;
    }
  }

  /** Names that {@link #ofShape} knows. */
  List<String> shapes();

  /**
   * Layouts from nothing quantized to everything, each with the parts of those before it.
   *
   * @param folder a model folder; only its config.json is read
   * @throws io.gracebeam.proto.error.GraceException (data) for a config.json that is wrong, (user)
   *     for one of an unknown family and for a group size that does not divide
   */
  List<Row> ofModel(Path folder, Question question);

  /**
   * Layouts as {@link #ofModel} gives them, for a published model's sizes instead of a folder.
   *
   * @throws io.gracebeam.proto.error.GraceException (user) for an unknown name
   */
  List<Row> ofShape(String name, Question question);

  /** The first planner on the class path that this JVM can load. */
  static Optional<MemoryPlanner> find() {
    try {
      return ServiceLoader.load(MemoryPlanner.class, MemoryPlanner.class.getClassLoader())
          .findFirst();
    } catch (ServiceConfigurationError | UnsupportedClassVersionError e) {
      return Optional.empty();
    }
  }
}
