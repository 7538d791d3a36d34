package io.gracebeam.worker.server;

import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.recipe.EngineChecks;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.worker.Builds;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/**
 * The worker as a process: {@code grace worker --port 7070 --threads 2 --device cpu --store /path}.
 */
public final class WorkerMain {
  private static final String USAGE =
      """
      grace worker [--host ADDRESS] [--port N] [--threads N] [--device cpu|cuda:N] [--engine NAME] [--compute TYPE]
                   [--store DIR|URI] [--allow DIR|URI]... [--models N] [--queue N] [--operation-queue N]
        --host     address to listen on, 127.0.0.1; anything else is neither encrypted nor authenticated
        --port     port to listen on, 0: any free one
        --threads  engine threads, up to 1024, 0: all cores; part of every stage key
        --device   cpu or cuda:N
        --compute  float32, bfloat16 or auto: what is fast here
        --engine   tensor engine
        --store    artifact store of requests that name none
        --allow    only what lies below this folder or URI is used; may be given several times
        --models   models held in memory
        --queue    Extract and Generate calls that may wait, 32
        --operation-queue
                   training and other long work that may wait, 64; it runs one after another.
                   Who finds a queue full gets RESOURCE_EXHAUSTED, and clients try again later\
      """;

  /** What the command line says. */
  record Arguments(WorkerSettings settings, EngineSettings engine) {}

  private WorkerMain() {}

  /** Runs until the process is told to end; exit codes are those of the error's category. */
  public static void main(String[] args) {
    if (List.of(args).contains("--help")) {
      System.out.println(USAGE);
      return;
    }
    try {
      WorkerServer worker = start(parse(args), GraceMethods::new, System.out, System.err);
      Runtime.getRuntime()
          .addShutdownHook(
              new Thread(
                  () -> {
                    worker.close();
                    Runtime.getRuntime().halt(0);
                  },
                  "grace-shutdown"));
      worker.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } catch (RuntimeException | Error e) { // a class's initializer fails with an Error
      GraceException error = Lines.classify(e);
      System.err.println("grace worker: " + error.getMessage());
      System.exit(error.category().exitCode());
    }
  }

  /** Starts a worker and says where it listens. */
  static WorkerServer start(
      Arguments arguments,
      Function<EngineSettings, WorkMethods> methods,
      PrintStream out,
      PrintStream err) {
    WorkerSettings settings = arguments.settings();
    if (!loopback(settings.host())) {
      err.println(
          "grace worker: "
              + settings.host()
              + " is reachable from other machines, without encryption or authentication");
    }
    WorkMethods work = methods.apply(arguments.engine());
    WorkerServer worker = WorkerServer.start(settings, work);
    out.println(
        "grace worker listening on "
            + settings.host()
            + ":"
            + worker.port()
            + " build "
            + Builds.current()
            + " engine "
            + work.facts().description());
    out.flush();
    return worker;
  }

  /** Reads the command line. */
  static Arguments parse(String... args) {
    WorkerSettings settings = WorkerSettings.defaults();
    EngineSettings.Builder engine = EngineSettings.newBuilder();
    String host = settings.host();
    int port = 0;
    int queue = settings.inferenceQueue();
    int operations = settings.operationQueue();
    Optional<URI> store = Optional.empty();
    List<URI> roots = new ArrayList<>();
    for (int i = 0; i < args.length; i += 2) {
      String key = args[i];
      if (i + 1 == args.length) {
        throw GraceException.user("%s: needs a value; see grace worker --help", key);
      }
      String value = args[i + 1];
      switch (key) {
        case "--host" -> host = value;
        case "--port" -> port = number(key, value, 0, 65_535);
        case "--threads" -> engine.setThreads(number(key, value, 0, 1024));
        case "--device" -> engine.setDevice(value);
        case "--compute" -> engine.setCompute(value);
        case "--engine" -> engine.setName(value);
        case "--store" -> store = Optional.of(Artifacts.uriOrPath(key, value));
        case "--allow" -> roots.add(Artifacts.uriOrPath(key, value));
        case "--models" -> settings = settings.holding(number(key, value, 1, 64));
        case "--queue" -> queue = number(key, value, 1, 100_000);
        case "--operation-queue" -> operations = number(key, value, 1, 100_000);
        default -> throw GraceException.user("%s: unknown option; see grace worker --help", key);
      }
    }
    settings = settings.listeningOn(host, port).admitting(queue, operations).within(store, roots);
    return new Arguments(settings, EngineChecks.requireOptions(engine.build()));
  }

  private static int number(String key, String value, int least, int most) {
    try {
      int number = Integer.parseInt(value);
      if (number >= least && number <= most) {
        return number;
      }
    } catch (NumberFormatException e) {
      // the error below says what is allowed
    }
    throw GraceException.user("%s: '%s' is not a number in %d..%d", key, value, least, most);
  }

  private static boolean loopback(String host) {
    try {
      return InetAddress.getByName(host).isLoopbackAddress();
    } catch (UnknownHostException e) {
      throw GraceException.user("--host: '%s' is not an address of this machine", host)
          .withCause(e);
    }
  }
}
