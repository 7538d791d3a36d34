package io.gracebeam.pipelines.plan;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.JsonFormat;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.PrepareWork;
import java.io.Serializable;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import org.yaml.snakeyaml.LoaderOptions;
import org.yaml.snakeyaml.Yaml;
import org.yaml.snakeyaml.constructor.SafeConstructor;

/**
 * How a demonstration makes what nobody can download: the photo grids and the two starting
 * checkpoints.
 *
 * @param trainGrids grids of the teacher's training set
 * @param studentGrids grids of the training set of student preparation and distillation
 * @param studentPhotosPerClass photos of each class that those grids are made of; 0 for all, as the
 *     teacher's
 * @param testGrids grids that the benchmarks ask about
 * @param side photos along one side of a grid: 2 or 3
 * @param photo pixels along one side of a photo
 * @param seed seed of the grids
 * @param teacherPerSeed whether every seed prepares its own teacher, which then gives its signals
 * @param studentPerSeed whether every seed prepares its own student
 * @param teacher how the teacher is made
 * @param student how the student is made
 */
public record StartSettings(
    int trainGrids,
    int studentGrids,
    int studentPhotosPerClass,
    int testGrids,
    int side,
    int photo,
    long seed,
    boolean teacherPerSeed,
    boolean studentPerSeed,
    PrepareWork teacher,
    PrepareWork student)
    implements Serializable {

  /** Whether teacher and student learn from one and the same training set. */
  public boolean oneDataset() {
    return studentGrids == trainGrids && studentPhotosPerClass == 0;
  }

  private static final Set<String> KEYS =
      Set.of("grids", "teacher_per_seed", "student_per_seed", "teacher", "student");
  private static final Set<String> GRID_KEYS =
      Set.of("train", "student_train", "student_photos_per_class", "test", "side", "photo", "seed");

  /**
   * Reads the YAML form, strictly.
   *
   * @param yaml text of the file
   * @param where name of the file, for messages
   * @throws GraceException (user) for an unknown key, a missing one or a wrong type
   */
  public static StartSettings parse(String yaml, String where) {
    Object root;
    try {
      root = new Yaml(new SafeConstructor(new LoaderOptions())).load(yaml);
    } catch (RuntimeException e) {
      throw GraceException.user("%s is not YAML: %s", where, firstLine(e));
    }
    Map<?, ?> map = mapping(root, where, "the file", KEYS);
    Map<?, ?> grids = mapping(map.get("grids"), where, "grids", GRID_KEYS);
    int train = integer(grids, "train", where, 1, 10_000_000);
    return new StartSettings(
        train,
        grids.containsKey("student_train")
            ? integer(grids, "student_train", where, 1, 10_000_000)
            : train,
        grids.containsKey("student_photos_per_class")
            ? integer(grids, "student_photos_per_class", where, 0, 10_000_000)
            : 0,
        integer(grids, "test", where, 1, 10_000_000),
        integer(grids, "side", where, 2, 3),
        integer(grids, "photo", where, 8, 512),
        integer(grids, "seed", where, 0, Integer.MAX_VALUE),
        flag(map, "teacher_per_seed", where),
        flag(map, "student_per_seed", where),
        work(map.get("teacher"), where, "teacher"),
        work(map.get("student"), where, "student"));
  }

  private static boolean flag(Map<?, ?> map, String key, String where) {
    Object value = map.containsKey(key) ? map.get(key) : Boolean.FALSE;
    if (!(value instanceof Boolean set)) {
      throw GraceException.user("%s: %s is '%s'; allowed: true, false", where, key, value);
    }
    return set;
  }

  private static PrepareWork work(Object value, String where, String key) {
    Map<?, ?> map = mapping(value, where, key, Set.of("shape", "tower", "instruction"));
    PrepareWork.Builder builder = PrepareWork.newBuilder();
    try {
      JsonFormat.parser().merge(new ObjectMapper().writeValueAsString(map), builder);
    } catch (InvalidProtocolBufferException | JsonProcessingException e) {
      throw GraceException.user("%s: %s: %s", where, key, firstLine(e));
    }
    return builder.build();
  }

  private static Map<?, ?> mapping(Object value, String where, String key, Set<String> allowed) {
    if (!(value instanceof Map<?, ?> map)) {
      throw GraceException.user(
          "%s: %s must be a mapping with the keys %s", where, key, sorted(allowed));
    }
    for (Object name : map.keySet()) {
      if (!allowed.contains(String.valueOf(name))) {
        throw GraceException.user(
            "%s: unknown key %s in %s; allowed: %s", where, name, key, sorted(allowed));
      }
    }
    return map;
  }

  private static int integer(Map<?, ?> map, String key, String where, int low, int high) {
    Object value = map.get(key);
    if (!(value instanceof Integer number) || number < low || number > high) {
      throw GraceException.user(
          "%s: grids.%s is %s; allowed: a whole number from %d to %d",
          where, key, value, low, high);
    }
    return number;
  }

  private static Set<String> sorted(Set<String> names) {
    return new LinkedHashSet<>(names.stream().sorted().toList());
  }

  private static String firstLine(Exception e) {
    return String.valueOf(e.getMessage()).lines().findFirst().orElse("");
  }
}
