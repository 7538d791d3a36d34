package io.gracebeam.pipelines.run;

import java.io.PrintStream;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/**
 * Says what has ended and what runs: a bar on a terminal; elsewhere a line per task that ended and
 * one now and then for long work; nothing when quiet.
 */
public final class Progress {
  private static final int WIDTH = 30;
  private static final long POLL_MILLIS = 300;
  private static final double SAY_SECONDS = 30;

  private final PrintStream out;
  private final boolean bar;
  private final boolean quiet;

  /**
   * Progress on a stream.
   *
   * @param bar redraw one line, for terminals
   * @param quiet say nothing
   */
  public Progress(PrintStream out, boolean bar, boolean quiet) {
    this.out = out;
    this.bar = bar;
    this.quiet = quiet;
  }

  /** Watches a run until it is closed. */
  Watch watch(SubmittedRun run, int total) {
    return new Watch(run, total);
  }

  final class Watch implements AutoCloseable {
    private final SubmittedRun run;
    private final int total;
    private final long begun = System.nanoTime();
    private final Set<String> told = new HashSet<>();
    private final Thread thread;
    private double said;

    private Watch(SubmittedRun run, int total) {
      this.run = run;
      this.total = total;
      this.thread = new Thread(this::loop, "progress");
      thread.setDaemon(true);
      if (!quiet) {
        thread.start();
      }
    }

    private void loop() {
      try {
        while (true) {
          show();
          Thread.sleep(POLL_MILLIS);
        }
      } catch (InterruptedException e) {
        show();
      }
    }

    private void show() {
      SubmittedRun.Status status = run.progress();
      List<String> ended = status.ended();
      double seconds = (System.nanoTime() - begun) / 1e9;
      String last = "";
      for (String id : ended) {
        if (told.add(id)) {
          last = id;
          if (!bar) {
            out.println(
                String.format(Locale.ROOT, "[%d/%d] %6.1f s  %s", told.size(), total, seconds, id));
          }
        }
      }
      List<String> running = status.running();
      if (!bar && !running.isEmpty() && seconds - said >= SAY_SECONDS) {
        said = seconds;
        running.forEach(
            line -> out.println(String.format(Locale.ROOT, "        %6.1f s  %s", seconds, line)));
      }
      if (bar) {
        int filled = total == 0 ? WIDTH : WIDTH * ended.size() / total;
        out.print(
            String.format(
                Locale.ROOT,
                "\r\033[K[%s%s] %d/%d  %.0f s  %s",
                "#".repeat(filled),
                "-".repeat(WIDTH - filled),
                ended.size(),
                total,
                seconds,
                running.isEmpty() ? last : String.join("; ", running)));
        out.flush();
      }
    }

    @Override
    public void close() {
      if (quiet) {
        return;
      }
      thread.interrupt();
      try {
        thread.join(5000);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
      if (bar) {
        out.println();
      }
    }
  }
}
