package io.gracebeam.worker.engine.checks;

import ai.djl.Device;
import ai.djl.engine.EngineException;
import ai.djl.ndarray.types.DataType;
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

/**
 * Compares values and gradients of every operator on a device with those of the same libtorch's CPU
 * in float32; {@code gpu-worker/gpu-check} runs it on a machine with a GPU. In bfloat16 both sides
 * get inputs that are rounded to it.
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
   * Arguments: file to write, device (cpu, cuda:N). Exits with 1 if an operator failed, else with
   * the code of an error's category.
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
      CheckReport report = check(engine, OperatorCases.all());
      write(Path.of(args[0]), report.json(engine.description()));
      System.out.println(
          report.good()
              ? "all operators agree with the CPU in float32"
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
    CheckReport report = new CheckReport();
    for (OperatorCases.Case c : cases) {
      for (Bound bound : BOUNDS) {
        try {
          compare(
              report,
              bound,
              OperatorCases.run(engine.engine(), engine.device(), c, bound.type()),
              OperatorCases.run(engine.engine(), Device.cpu(), c, DataType.FLOAT32, bound.type()));
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
