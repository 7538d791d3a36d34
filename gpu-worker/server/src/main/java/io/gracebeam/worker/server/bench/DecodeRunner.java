package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A contestant's process and its best figures. It says {@code bytes WEIGHTS WORK}, and for each
 * line it gets {@code seconds PROMPT DECODE finite resident BYTES peak BYTES}; {@code about TEXT}
 * and {@code whole BESIDE PROCESS PLANNED} may come before, and {@code left out REASON} instead.
 */
final class DecodeRunner implements AutoCloseable {
  private static final String LEFT_OUT = "left out ";
  private static final long END_SECONDS = 20;
  private static final Pattern BYTES = Pattern.compile("bytes (\\d{1,18}) (\\d{1,18})");
  private static final Pattern WHOLE = Pattern.compile("whole (\\d{1,18}) (\\d{1,18}) (\\d{1,18})");
  private static final Pattern SECONDS =
      Pattern.compile(
          "seconds (\\d{1,9}\\.\\d+) (\\d{1,9}\\.\\d+) (\\w+) resident (\\d{1,18}) peak"
              + " (\\d{1,18})");

  /**
   * Figures of a contestant.
   *
   * @param weights bytes read for a token
   * @param work bytes of cache and scratch, 0 if it does not say
   * @param prefill least seconds of the prompt
   * @param decode least seconds of the new tokens
   * @param resident bytes after a round, at most
   * @param peak bytes resident at any time since the process began
   */
  record Figures(
      long weights, long work, double prefill, double decode, long resident, long peak) {}

  /**
   * A contestant that holds a whole model.
   *
   * @param beside bytes of weights outside the decoder
   * @param process bytes resident before any weight was made
   * @param planned bytes that {@code grace plan} tells for weights, cache and scratch space
   */
  record Whole(long beside, long process, long planned) {}

  private final String name;
  private final Contestants.Command command;
  private Process process;
  private CompletableFuture<List<String>> errors;
  private BufferedReader out;
  private BufferedWriter in;
  private String about = "";
  private Optional<Whole> whole = Optional.empty();
  private Figures best =
      new Figures(0, 0, Double.POSITIVE_INFINITY, Double.POSITIVE_INFINITY, 0, 0);

  DecodeRunner(String name, Contestants.Command command) {
    this.name = name;
    this.command = command;
  }

  String name() {
    return name;
  }

  /** What the contestant says of itself; may be empty. */
  String about() {
    return about;
  }

  /** What it holds outside the decoder; empty where it holds no more. */
  Optional<Whole> whole() {
    return whole;
  }

  /** The best of the rounds so far. */
  Figures figures() {
    return best;
  }

  /** Starts the process and waits until its weights are made; nothing where it runs already. */
  void start() throws IOException {
    if (process != null) {
      return;
    }
    process = command.start();
    errors = Contestants.errors(process);
    out = process.inputReader();
    in = process.outputWriter();
    Matcher m = matched(BYTES, line("bytes"));
    best =
        new Figures(
            Long.parseLong(m.group(1)),
            Long.parseLong(m.group(2)),
            best.prefill,
            best.decode,
            best.resident,
            best.peak);
  }

  /** A prompt and new tokens. */
  void round() throws IOException {
    in.write("go\n");
    in.flush();
    Matcher m = matched(SECONDS, line("seconds"));
    if (!m.group(3).equals("finite")) {
      throw GraceException.bug("%s: the logits are not finite", name);
    }
    best =
        new Figures(
            best.weights,
            best.work,
            Math.min(best.prefill, Double.parseDouble(m.group(1))),
            Math.min(best.decode, Double.parseDouble(m.group(2))),
            Math.max(best.resident, Long.parseLong(m.group(4))),
            Math.max(best.peak, Long.parseLong(m.group(5))));
  }

  private String line(String start) throws IOException {
    for (String line = out.readLine(); line != null; line = out.readLine()) {
      if (line.startsWith(LEFT_OUT)) {
        throw GraceException.worker("%s", line.substring(LEFT_OUT.length()));
      }
      if (line.startsWith("about ")) {
        about = line.substring("about ".length());
      }
      if (line.startsWith("whole ")) {
        Matcher m = matched(WHOLE, line);
        whole =
            Optional.of(
                new Whole(
                    Long.parseLong(m.group(1)),
                    Long.parseLong(m.group(2)),
                    Long.parseLong(m.group(3))));
      }
      if (line.startsWith(start + " ")) {
        return line;
      }
    }
    throw Ending.of(name, status(), errors.join());
  }

  private Matcher matched(Pattern pattern, String line) {
    Matcher m = pattern.matcher(line);
    if (!m.matches()) {
      throw GraceException.worker("%s said '%s'", name, line);
    }
    return m;
  }

  /** Exit status of the process that closed its output. */
  private int status() {
    try {
      return process.waitFor();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return -1;
    }
  }

  /** Ends the process, whose memory is free then. */
  @Override
  public void close() throws IOException {
    if (process == null) {
      return;
    }
    Process ending = process;
    process = null;
    try {
      in.close();
    } catch (IOException e) {
      // The process ended before: there is nobody to tell.
      ending.destroyForcibly();
    }
    try {
      if (!ending.waitFor(END_SECONDS, TimeUnit.SECONDS)) {
        ending.destroyForcibly().waitFor();
      }
    } catch (InterruptedException e) {
      ending.destroyForcibly();
      Thread.currentThread().interrupt();
    }
  }
}
