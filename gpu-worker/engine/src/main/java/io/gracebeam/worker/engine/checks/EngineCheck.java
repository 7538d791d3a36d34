package io.gracebeam.worker.engine.checks;

import ai.djl.Device;
import ai.djl.engine.EngineException;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import com.google.gson.Gson;
import com.google.gson.JsonParseException;
import com.google.gson.reflect.TypeToken;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.engine.Engines;
import io.gracebeam.worker.engine.libtorch.LibTorchEngine;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * Compares values and gradients of every operator on a device with those of the same libtorch's CPU
 * in float32; {@code gpu-worker/gpu-check} runs it on a machine with a GPU. In bfloat16 both sides
 * get inputs that are rounded to it. Or compares with what torch gave, from a file: {@code
 * conformance} does so with torch's own libraries. Also asks for more memory than there is.
 */
public final class EngineCheck {
  /**
   * How far an element may be off: absolute + relative * magnitude of the expected one.
   *
   * @param type of the computation on the device
   */
  private record Bound(DataType type, double absolute, double relative) {
    double of(double expected) {
      return absolute + relative * Math.abs(expected);
    }

    String label() {
      return type.name().toLowerCase(Locale.ROOT);
    }
  }

  /**
   * Float32 sums of up to 33 products may come in another order. A bfloat16 rounding is off by 2^-9
   * of the number at most, and a gradient goes through several of numbers near 1.
   */
  private static final List<Bound> BOUNDS =
      List.of(
          new Bound(DataType.FLOAT32, 1e-5, 1e-5),
          new Bound(DataType.BFLOAT16, 1.0 / 64, 1.0 / 128));

  /** Cases that CUDA refuses where operators must be deterministic, as torch documents. */
  private static final Set<String> WITHOUT_ORDER = Set.of("cumsum");

  private EngineCheck() {}

  /**
   * Arguments: file to write, device (cpu, cuda:N), and optionally torch's results, a JSON file of
   * types, names and values. Exits with 1 if an operator failed, else with the code of an error's
   * category.
   */
  public static void main(String[] args) {
    int status;
    try {
      EngineHandle engine =
          Engines.open(
              EngineSettings.newBuilder()
                  .setName(Engines.LIBTORCH)
                  .setDevice(args[1])
                  .setCompute("float32")
                  .build());
      System.out.println(engine.description());
      CheckReport report =
          check(engine, OperatorCases.all(), args.length > 2 ? read(Path.of(args[2])) : null);
      checkMemory(engine, report);
      write(Path.of(args[0]), report.json(engine.description()));
      System.out.println(
          report.good()
              ? "all operators agree with " + (args.length > 2 ? "torch" : "the CPU in float32")
              : report.failures() + " of the operators' results failed");
      status = report.good() ? 0 : 1;
    } catch (GraceException e) {
      System.err.println("engine-check: " + e.getMessage());
      status = e.category().exitCode();
    }
    System.exit(status);
  }

  /** Runs the cases on the engine's device in each type, and on its CPU in float32. */
  static CheckReport check(EngineHandle engine, List<OperatorCases.Case> cases) {
    return check(engine, cases, null);
  }

  /** Runs the cases against expected results, by type and name, in the place of the CPU's. */
  static CheckReport check(
      EngineHandle engine,
      List<OperatorCases.Case> cases,
      Map<String, Map<String, float[]>> torch) {
    CheckReport report = new CheckReport();
    for (OperatorCases.Case c : cases) {
      for (Bound bound : BOUNDS) {
        try {
          compare(
              report,
              bound,
              OperatorCases.run(engine.engine(), engine.device(), c, bound.type()),
              torch == null
                  ? OperatorCases.run(
                      engine.engine(), Device.cpu(), c, DataType.FLOAT32, bound.type())
                  : of(c, torch.get(bound.label())));
        } catch (GraceException
            | EngineException
            | IllegalArgumentException
            | IllegalStateException
            | UnsupportedOperationException e) {
          String what = "%s %s: %s".formatted(c.name(), bound.label(), e.getMessage());
          if (refuses(engine, c)) {
            report.note(what + "; it is not deterministic on CUDA, and is refused for that");
          } else {
            report.failure(what);
          }
        }
      }
    }
    return report;
  }

  /** A case's results among those of all. */
  private static Map<String, float[]> of(OperatorCases.Case c, Map<String, float[]> all) {
    Map<String, float[]> out = new TreeMap<>();
    all.forEach(
        (name, values) -> {
          if (name.equals(c.name()) || name.startsWith(c.name() + "/")) {
            out.put(name, values);
          }
        });
    if (out.size() != 1 + c.shapes().size()) {
      throw GraceException.data(
          "torch's results have %d of %s; allowed: its value and %d gradients",
          out.size(), c.name(), c.shapes().size());
    }
    return out;
  }

  /** A product whose result fits no memory must say so, and the next must succeed. */
  static void checkMemory(EngineHandle engine, CheckReport report) {
    try (NDManager manager = engine.engine().newBaseManager(engine.device());
        NDArray row = manager.ones(new Shape(1, 1 << 21));
        NDArray column = row.reshape(1 << 21, 1)) {
      try (NDArray product = column.mul(row)) {
        report.failure("memory: a product took %d bytes".formatted(4 * product.size()));
      } catch (GraceException e) {
        if (e.category() == Category.ENVIRONMENT && e.getMessage().contains("out of memory")) {
          report.row("memory, refusals", 1, "line", "expected", 1);
        } else {
          report.failure("memory: %s: %s".formatted(e.category(), e.getMessage()));
        }
      } catch (EngineException e) {
        report.failure("memory: no want of it is told: " + e.getMessage());
      }
      if (row.sum().getFloat() != 1 << 21) {
        report.failure("memory: the sum after it is wrong");
      }
    }
  }

  private static Map<String, Map<String, float[]>> read(Path file) {
    try {
      Map<String, Map<String, float[]>> found =
          new Gson()
              .fromJson(
                  Files.readString(file),
                  new TypeToken<Map<String, Map<String, float[]>>>() {}.getType());
      if (found == null || BOUNDS.stream().anyMatch(b -> found.get(b.label()) == null)) {
        throw GraceException.data("%s lacks float32 or bfloat16", file);
      }
      return found;
    } catch (IOException | JsonParseException e) {
      throw GraceException.data("cannot read %s: %s", file, e);
    }
  }

  private static boolean refuses(EngineHandle engine, OperatorCases.Case c) {
    return engine.device().isGpu()
        && engine.engine() instanceof LibTorchEngine own
        && own.deterministic()
        && WITHOUT_ORDER.contains(c.name());
  }

  private static void compare(
      CheckReport report, Bound bound, Map<String, float[]> found, Map<String, float[]> expected) {
    expected.forEach((name, wanted) -> compare(report, bound, name, found.get(name), wanted));
  }

  /** A row with the largest difference; its ratio is the largest part that a bound was used to. */
  private static void compare(
      CheckReport report, Bound bound, String result, float[] found, float[] expected) {
    int slash = result.indexOf('/');
    String name =
        slash < 0
            ? result + " " + bound.label()
            : "%s %s, gradient %s"
                .formatted(result.substring(0, slash), bound.label(), result.substring(slash + 1));
    if (found.length != expected.length) {
      report.failure(
          "%s has %d elements, the CPU's has %d".formatted(name, found.length, expected.length));
      return;
    }
    double largest = 0;
    double ratio = 0;
    for (int i = 0; i < found.length; i++) {
      double difference = Math.abs((double) found[i] - expected[i]);
      double allowed = bound.of(expected[i]);
      if (!(difference <= allowed)) {
        report.failure(
            "%s[%d] is %s, the CPU says %s within %s"
                .formatted(name, i, found[i], expected[i], allowed));
        return;
      }
      largest = Math.max(largest, difference);
      ratio = Math.max(ratio, difference / allowed);
    }
    report.row("operator " + name, largest, "largest difference", "bound", ratio);
  }

  private static void write(Path file, String text) {
    try {
      Files.writeString(file, text);
    } catch (IOException e) {
      throw GraceException.environment("cannot write %s: %s", file, e);
    }
  }
}
