package io.gracebeam.worker.server;

import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.plugin.Plugins;
import io.gracebeam.proto.stage.Executor;
import io.gracebeam.proto.stage.StageKind;
import io.gracebeam.proto.stage.StageTable;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.OperationRequest;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.engine.Engines;
import io.gracebeam.worker.kernels.KernelProvider;
import io.gracebeam.worker.methods.data.Dataset;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.signals.SignalWriter;
import io.gracebeam.worker.methods.signals.TeacherExtractor;
import io.gracebeam.worker.methods.stages.StageJob;
import io.gracebeam.worker.methods.stages.StageWork;
import io.gracebeam.worker.methods.work.Files2;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.function.Consumer;
import java.util.stream.Stream;

/**
 * The numerical side: GRACE on the tensor engine. The only class of the server that knows methods
 * and engine.
 */
final class GraceMethods implements WorkMethods {
  private static final Path CPU_INFO = Path.of("/proc/cpuinfo");

  private final EngineHandle engine;
  private final EngineFacts facts;
  private final StageTable table = StageTable.load();
  private final Plugins<StageWork> works = works(table);

  /**
   * Opens the engine.
   *
   * @throws GraceException (user, environment) if engine or device cannot be had
   */
  GraceMethods(EngineSettings settings) {
    KernelProvider.threads(Engines.threads(settings)); // the engine already uses kernels
    engine = Engines.open(settings);
    facts = facts(engine);
  }

  /** What this worker can do; each kind needs a row of the stage table. */
  private static Plugins<StageWork> works(StageTable table) {
    Plugins<StageWork> works =
        Plugins.load(StageWork.class, "work of a stage", work -> List.of(work.stage()));
    for (String name : works.names()) {
      if (!table.names().contains(name) || table.get(name).executor() != Executor.WORKER) {
        throw GraceException.environment(
            "%s works for stage '%s', which the stage table does not give to workers; allowed: %s",
            works.get(name).getClass().getName(),
            name,
            table.all().stream()
                .filter(kind -> kind.executor() == Executor.WORKER)
                .map(StageKind::name)
                .toList());
      }
    }
    return works;
  }

  private static EngineFacts facts(EngineHandle engine) {
    try {
      String all = engine.digest() + "\n" + KernelProvider.best().identity();
      return new EngineFacts(
          engine.description() + "; " + KernelProvider.explain(),
          Digests.sha256(all.getBytes(StandardCharsets.UTF_8)),
          hardware(engine));
    } catch (IllegalArgumentException e) {
      throw GraceException.user("%s", e.getMessage()).withCause(e);
    }
  }

  @Override
  public EngineFacts facts() {
    return facts;
  }

  @Override
  public List<String> capabilities() {
    return List.copyOf(works.names());
  }

  @Override
  public LoadedModel load(Path folder) {
    return Answerer.load(engine, ModelFolder.open(Files2.modelFolder(folder)));
  }

  @Override
  public Map<String, Double> extract(
      LoadedModel teacher,
      ExtractRequest request,
      Path dataset,
      Path out,
      Consumer<ExampleSignal> sink,
      Progress progress) {
    Answerer loaded = (Answerer) teacher;
    return TeacherExtractor.run(
        loaded.model(),
        loaded.inputs(),
        request,
        Dataset.open(dataset),
        out.resolve("signals" + SignalWriter.SUFFIX),
        sink,
        adapt(progress));
  }

  @Override
  public Map<String, Double> run(
      OperationRequest request, SortedMap<String, Path> inputs, Path out, Progress progress) {
    StageKind kind = table.get(request.getStage());
    return works
        .get(kind.name())
        .run(
            new StageJob(
                engine,
                kind.unpack("operation " + request.getId(), request.getWork()),
                inputs,
                request.getSeed(),
                out,
                adapt(progress)));
  }

  /** Nothing to free: the engine's library stays loaded as long as the process. */
  @Override
  public void close() {}

  private static io.gracebeam.worker.methods.work.Progress adapt(Progress progress) {
    return new io.gracebeam.worker.methods.work.Progress() {
      @Override
      public void report(double fraction, String what) {
        progress.report(fraction, what);
      }

      @Override
      public boolean canceled() {
        return progress.canceled();
      }
    };
  }

  /** Name of the processor or accelerator. */
  private static String hardware(EngineHandle engine) {
    if (engine.device().isGpu()) {
      return engine.device().toString();
    }
    if (Files.isReadable(CPU_INFO)) {
      try (Stream<String> lines = Files.lines(CPU_INFO)) {
        String name =
            lines
                .filter(line -> line.startsWith("model name"))
                .map(line -> line.substring(line.indexOf(':') + 1).strip())
                .findFirst()
                .orElse("");
        if (!name.isEmpty()) {
          return name;
        }
      } catch (IOException e) {
        // the architecture says something as well
      }
    }
    return System.getProperty("os.arch");
  }
}
