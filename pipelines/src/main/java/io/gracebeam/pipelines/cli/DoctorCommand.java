package io.gracebeam.pipelines.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.pipelines.run.WorkerSet;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.worker.Builds;
import io.gracebeam.transforms.client.Engine;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code grace doctor}: what this machine offers. */
@Command(
    name = "doctor",
    description = "Tells what this machine offers: JDK, cores, instructions, memory, disk, engine.",
    mixinStandardHelpOptions = true)
final class DoctorCommand implements Callable<Integer> {
  private static final List<String> FLAGS =
      List.of("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8");

  private static final int TILE_LEAF = 0x1D;

  @Option(names = "--json", description = "For machines.")
  boolean json;

  @Mixin EngineOptions engine;

  @Spec CommandSpec spec;

  @Override
  public Integer call() throws IOException {
    EngineSettings settings = engine.settings();
    ObjectNode facts = new ObjectMapper().createObjectNode();
    facts.put("build", Builds.current());
    facts.put("jdk", Runtime.version().toString());
    facts.put("cores", Runtime.getRuntime().availableProcessors());
    facts.put("processor", cpuinfo("model name"));
    List<String> has = new ArrayList<>(List.of(cpuinfo("flags").split(" ")));
    has.retainAll(FLAGS);
    facts.put(
        "instructions",
        (has.isEmpty() ? "none of " + String.join(" ", FLAGS) : String.join(" ", has))
            + (hidesTiles(has)
                ? " (tile sizes hidden by this virtual machine: AMX for our own kernels alone)"
                : ""));
    facts.put(
        "memory",
        String.format(
            Locale.ROOT,
            "%.1f GB, %.1f GB for this JVM",
            total() / 1e6,
            Runtime.getRuntime().maxMemory() / 1e9));
    facts.put(
        "disk",
        String.format(
            Locale.ROOT,
            "%.1f GB free here",
            Files.getFileStore(Path.of("").toAbsolutePath()).getUsableSpace() / 1e9));
    Optional<GraceException> unusable = Optional.empty();
    try (WorkerSet workers = WorkerSet.open(List.of(), settings)) {
      Engine opened = workers.engine();
      facts.put("engine", opened.description());
      facts.put("device", opened.device());
      facts.put("engineDigest", opened.digest());
    } catch (GraceException e) {
      facts.put("engine", "unusable: " + e.getMessage());
      unusable = Optional.of(e);
    }
    PrintWriter out = spec.commandLine().getOut();
    if (json) {
      out.println(facts.toPrettyString());
    } else {
      facts
          .fields()
          .forEachRemaining(
              f ->
                  out.println(
                      String.format(Locale.ROOT, "%-14s %s", f.getKey(), f.getValue().asText())));
    }
    out.flush();
    if (unusable.isPresent()) {
      throw unusable.get();
    }
    return 0;
  }

  /**
   * oneDNN cannot use AMX where the highest CPUID leaf lies below the one with the tiles' sizes.
   */
  private static boolean hidesTiles(List<String> flags) {
    String level = cpuinfo("cpuid level");
    return flags.contains("amx_tile")
        && level.matches("[0-9]{1,9}")
        && Integer.parseInt(level) < TILE_LEAF;
  }

  private static String cpuinfo(String key) {
    return field(Path.of("/proc/cpuinfo"), key);
  }

  /** Memory in kB. */
  private static double total() {
    String text = field(Path.of("/proc/meminfo"), "MemTotal").replaceAll("[^0-9]", "");
    return text.isEmpty() ? 0 : Double.parseDouble(text);
  }

  private static String field(Path file, String key) {
    try {
      for (String line : Files.readAllLines(file)) {
        int colon = line.indexOf(':');
        if (colon > 0 && line.substring(0, colon).strip().equals(key)) {
          return line.substring(colon + 1).strip();
        }
      }
    } catch (IOException e) {
      // Not Linux: the line says that nothing is known.
    }
    return "unknown";
  }
}
