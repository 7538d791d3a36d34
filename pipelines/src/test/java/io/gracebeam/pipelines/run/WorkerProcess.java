package io.gracebeam.pipelines.run;

import io.gracebeam.proto.v1.Operation;
import io.gracebeam.proto.v1.WatchRequest;
import io.gracebeam.proto.v1.WorkerGrpc;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A worker in a process of its own, on the test's class path, with one engine thread. */
final class WorkerProcess implements AutoCloseable {
  private static final Pattern LISTENING =
      Pattern.compile("grace worker listening on 127\\.0\\.0\\.1:(\\d+) .*");

  private final Process process;
  private final int port;
  private final ManagedChannel channel;

  private WorkerProcess(Process process, int port) {
    this.process = process;
    this.port = port;
    this.channel = NettyChannelBuilder.forAddress("127.0.0.1", port).usePlaintext().build();
  }

  /**
   * Starts several at once and waits until all listen.
   *
   * @param logs folder for what they say on standard error
   */
  static List<WorkerProcess> start(int count, Path logs) throws IOException {
    List<Process> processes = new ArrayList<>();
    List<WorkerProcess> workers = new ArrayList<>();
    try {
      for (int i = 0; i < count; i++) {
        processes.add(launch(logs.resolve("worker-" + i + ".log")));
      }
      for (Process process : processes) {
        workers.add(new WorkerProcess(process, port(process, logs)));
      }
      return workers;
    } catch (IOException | RuntimeException e) {
      processes.forEach(Process::destroyForcibly);
      throw e;
    }
  }

  private static Process launch(Path log) throws IOException {
    ProcessBuilder builder =
        new ProcessBuilder(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-Xmx1g",
            "--enable-native-access=ALL-UNNAMED",
            "--add-modules",
            "jdk.incubator.vector",
            "--sun-misc-unsafe-memory-access=allow",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dai.djl.offline=true",
            "-cp",
            System.getProperty("java.class.path"),
            "io.gracebeam.worker.server.WorkerMain",
            "--threads",
            "1");
    return builder.redirectError(log.toFile()).start();
  }

  private static int port(Process process, Path logs) throws IOException {
    BufferedReader out = process.inputReader(StandardCharsets.UTF_8);
    String line = out.readLine();
    Matcher said = LISTENING.matcher(String.valueOf(line));
    if (!said.matches()) {
      StringBuilder errors = new StringBuilder();
      try (var files = Files.list(logs)) {
        for (Path log : files.sorted().toList()) {
          errors.append(Files.readString(log));
        }
      }
      throw new IOException("the worker said '" + line + "': " + errors);
    }
    return Integer.parseInt(said.group(1));
  }

  String endpoint() {
    return "127.0.0.1:" + port;
  }

  /** Whether it computes the operation with this id just now. */
  boolean computes(String id) {
    try {
      Operation operation =
          WorkerGrpc.newBlockingStub(channel)
              .withDeadlineAfter(5, TimeUnit.SECONDS)
              .watch(WatchRequest.newBuilder().setId(id).build())
              .next();
      return operation.getState() == Operation.State.RUNNING && operation.getProgress() > 0;
    } catch (StatusRuntimeException e) {
      return false;
    }
  }

  boolean alive() {
    return process.isAlive();
  }

  /** As a crash of the machine would: nothing is said, nothing is tidied up. */
  void kill() throws InterruptedException {
    process.destroyForcibly().waitFor();
  }

  @Override
  public void close() {
    channel.shutdownNow();
    process.destroyForcibly();
  }
}
