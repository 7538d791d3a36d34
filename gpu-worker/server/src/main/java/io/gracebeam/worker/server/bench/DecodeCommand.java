package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.kernels.KernelBench;
import io.gracebeam.worker.methods.family.ModelSizes;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/**
 * {@code grace bench decode}: tokens a second and memory of decoders with random weights of true
 * sizes: 16 bit, several INT4 layouts, and llama.cpp's with weights of as many bits. Each has a
 * process of its own; they take turns, round after round, and the best round counts, for all alike.
 */
final class DecodeCommand {
  static final String USAGE =
      "grace bench decode [--shape qwen2-vl-2b|llava-1.5-7b|student] [--layers N] [--prompt N]"
          + " [--tokens N] [--rounds N] [--threads N] [--layouts NAME,...] [--peers NAME,...|none]"
          + " [--together auto|no] [--json FILE]";
  private static final String BASE = "16-bit";
  private static final String ALL_LAYERS = "all";
  private static final String NONE = "none";
  private static final String AUTO = "auto";
  private static final String NOT_SET_UP =
      "llama.cpp: not measured; conformance/setup-peers makes its environment";
  private static final String CONTENTS =
      "times: the decoder and its head; memory of our layouts: the whole model, with vision tower"
          + " and projector, and the JVM where it is not said otherwise; the embedding table (16"
          + " bit) stays in a file, of which a row is read for each token, in all layouts alike;"
          + " memory of llama.cpp: decoder and head alone";
  private static final List<KernelBench.Layout> LAYOUTS =
      List.of(
          new KernelBench.Layout(BASE, 16, 16, 16, 16),
          new KernelBench.Layout("int4", 4, 16, 16, 16),
          new KernelBench.Layout("int4-head8", 4, 8, 16, 16),
          new KernelBench.Layout("int4-head4", 4, 4, 16, 16),
          new KernelBench.Layout("int4-head8-vision8", 4, 8, 16, 8),
          new KernelBench.Layout("int4-all8", 4, 8, 8, 8),
          new KernelBench.Layout("int4-head4-rest8", 4, 4, 8, 8));

  /** A contestant: one of our layouts, or a peer. */
  private record Entry(
      String name, int bits, int headBits, boolean peer, long bytes, DecodeRunner runner) {}

  private final String shapeName;
  private final String layers;
  private final ModelSizes sizes;
  private final DecoderShape shape;
  private final int prompt;
  private final int tokens;
  private final int rounds;
  private final int threads;
  private final boolean together;
  private final List<KernelBench.Layout> layouts;
  private final List<DecodePeers.Peer> wanted;
  private final List<String> notes = new ArrayList<>();
  private final Map<String, Entry> entries = new LinkedHashMap<>();
  private Path embeddings;

  private DecodeCommand(BenchOptions options) {
    shapeName = options.text("--shape");
    layers = options.text("--layers");
    ModelSizes whole = DecodeContestant.sizes(shapeName, Integer.MAX_VALUE);
    sizes = layers.equals(ALL_LAYERS) ? whole : whole.layers(options.positive("--layers"));
    shape = sizes.decoder();
    prompt = options.positive("--prompt");
    tokens = options.positive("--tokens");
    rounds = options.positive("--rounds");
    threads = options.positive("--threads");
    together = options.oneOf("--together", AUTO, "no").equals(AUTO);
    layouts = layouts(options.text("--layouts"));
    wanted = peers(options.text("--peers"));
  }

  static BenchOptions options(String[] args) {
    return new BenchOptions(
        USAGE,
        Map.of(
            "--shape",
            "qwen2-vl-2b",
            "--layers",
            ALL_LAYERS,
            "--prompt",
            "256",
            "--tokens",
            "32",
            "--rounds",
            "3",
            "--threads",
            BenchOptions.processors(),
            "--layouts",
            String.join(",", LAYOUTS.stream().map(l -> l.name()).toList()),
            "--peers",
            String.join(",", DecodePeers.ALL.stream().map(DecodePeers.Peer::name).toList()),
            "--together",
            AUTO,
            "--json",
            ""),
        args);
  }

  static void run(String[] args) throws IOException, InterruptedException {
    BenchOptions options = options(args);
    new DecodeCommand(options).measure().report(options.text("--json"));
  }

  private BenchTable measure() throws IOException, InterruptedException {
    try (DecodePeers peers = new DecodePeers(shape);
        EmbeddingFile table = new EmbeddingFile(shape.vocab(), shape.width())) {
      embeddings = table.path();
      enter(peers);
      if (together && DecodeMemory.fits(entries.values().stream().map(Entry::bytes).toList())) {
        together();
      } else {
        notes.add("each contestant began anew for each turn, alone in memory");
        inTurn();
      }
      return table();
    } finally {
      close(entries.values());
    }
  }

  /** Lists the contestants: each of our layouts, then the peer of as many bits. */
  private void enter(DecodePeers peers) throws IOException, InterruptedException {
    List<DecodePeers.Peer> left = new ArrayList<>(wanted);
    if (!left.isEmpty() && !DecodePeers.ready()) {
      notes.add(NOT_SET_UP);
      left.clear();
    }
    for (KernelBench.Layout l : layouts) {
      DecodeRunner runner = new DecodeRunner(l.name(), () -> Contestants.start(command(l)));
      entries.put(
          l.name(),
          new Entry(l.name(), l.bits(), l.headBits(), false, DecodeMemory.bytes(sizes, l), runner));
      Optional<DecodePeers.Peer> like =
          DecodePeers.like(l.bits(), l.headBits()).filter(left::remove);
      if (like.isPresent()) {
        enter(peers, like.get());
      }
    }
    for (DecodePeers.Peer p : left) {
      enter(peers, p);
    }
  }

  private void enter(DecodePeers peers, DecodePeers.Peer p)
      throws IOException, InterruptedException {
    long bytes = DecodeMemory.bytes(shape, p.bits(), p.headBits());
    if (!DecodeMemory.fits(List.of(bytes))) {
      notes.add(p.name() + ": left out: its weights exceed the memory");
      return;
    }
    try {
      DecodeRunner runner = peers.runner(p, threads, prompt, tokens);
      entries.put(p.name(), new Entry(p.name(), p.bits(), p.headBits(), true, bytes, runner));
    } catch (GraceException e) {
      leaveOut(p.name(), e);
    }
  }

  /** All processes stay; they take turns. */
  private void together() throws IOException {
    for (Entry e : List.copyOf(entries.values())) {
      attempt(e, () -> e.runner.start());
    }
    for (int round = 0; round < rounds; round++) {
      for (Entry e : List.copyOf(entries.values())) {
        attempt(e, e.runner::round);
      }
      progress(round);
    }
  }

  /** Each process lives for a turn: a round to warm up, and one more. */
  private void inTurn() throws IOException {
    for (int round = 0; round < rounds; round++) {
      for (Entry e : List.copyOf(entries.values())) {
        attempt(
            e,
            () -> {
              e.runner.start();
              e.runner.round();
              e.runner.round();
              e.runner.close();
            });
      }
      progress(round);
    }
  }

  private void progress(int round) {
    System.err.printf("round %d of %d done%n", round + 1, rounds);
  }

  @FunctionalInterface
  private interface Step {
    void run() throws IOException;
  }

  /** A peer that fails is left out, one of ours ends the bench. */
  private void attempt(Entry e, Step step) throws IOException {
    try {
      step.run();
    } catch (GraceException | IOException failure) {
      if (!e.peer) {
        throw failure;
      }
      leaveOut(e.name, failure);
      entries.remove(e.name);
      e.runner.close();
    }
  }

  private void leaveOut(String name, Exception reason) {
    String note = String.format(Locale.ROOT, "%s: left out: %s", name, reason.getMessage());
    notes.add(note);
    System.err.println(note);
  }

  private BenchTable table() throws IOException {
    BenchTable table =
        new BenchTable(
            "decode",
            Map.of(
                "shape", shapeName,
                "layers", layers,
                "threads", Integer.toString(threads),
                "prompt", Integer.toString(prompt),
                "tokens", Integer.toString(tokens),
                "rounds", Integer.toString(rounds)));
    close(entries.values());
    try (KernelBench bench = new KernelBench(threads)) {
      table.note(bench.describe());
      double read = bench.readBandwidth(1L << 30, 5);
      table.add("memory read", read / 1e9, "GB/s");
      DecodeReport report = new DecodeReport(table, prompt, tokens, read);
      for (Entry e : entries.values()) {
        report.add(e.name, e.runner.figures(), rivals(e));
        if (e.runner.whole().isPresent()) {
          report.whole(
              e.name,
              e.runner.figures(),
              e.runner.whole().get(),
              BASE,
              e.name.equals(BASE) ? Optional.empty() : base());
        } else {
          report.resident(e.name, e.runner.figures(), rivals(e));
        }
      }
    }
    entries.values().stream()
        .filter(e -> e.peer)
        .map(e -> e.runner.about())
        .distinct()
        .forEach(table::note);
    notes.forEach(table::note);
    table.note(CONTENTS);
    return table;
  }

  private Optional<DecodeReport.Holding> base() {
    return Optional.ofNullable(entries.get(BASE))
        .flatMap(e -> e.runner.whole().map(w -> new DecodeReport.Holding(e.runner.figures(), w)));
  }

  /** Ours: our 16 bit, and the peer of as many bits. Peers: the peer's 16 bit. */
  private Map<String, DecodeRunner.Figures> rivals(Entry e) {
    Map<String, DecodeRunner.Figures> out = new LinkedHashMap<>();
    Optional<String> like =
        DecodePeers.like(e.bits, e.headBits).map(DecodePeers.Peer::name).filter(n -> !e.peer);
    String dense = e.peer ? DecodePeers.ALL.get(0).name() : BASE;
    for (String name : like.isPresent() ? List.of(dense, like.get()) : List.of(dense)) {
      if (!name.equals(e.name) && entries.containsKey(name)) {
        out.put(name, entries.get(name).runner.figures());
      }
    }
    return out;
  }

  private static void close(Collection<Entry> entries) throws IOException {
    for (Entry e : entries) {
      e.runner.close();
    }
  }

  private static List<KernelBench.Layout> layouts(String names) {
    List<KernelBench.Layout> out = new ArrayList<>();
    for (String name : names.split(",")) {
      out.add(
          LAYOUTS.stream()
              .filter(l -> l.name().equals(name))
              .findFirst()
              .orElseThrow(
                  () ->
                      GraceException.user(
                          "--layouts has '%s'; allowed: %s",
                          name, LAYOUTS.stream().map(KernelBench.Layout::name).toList())));
    }
    return out;
  }

  private static List<DecodePeers.Peer> peers(String names) {
    List<DecodePeers.Peer> out = new ArrayList<>();
    if (names.equals(NONE)) {
      return out;
    }
    for (String name : names.split(",")) {
      out.add(
          DecodePeers.ALL.stream()
              .filter(p -> p.name().equals(name))
              .findFirst()
              .orElseThrow(
                  () ->
                      GraceException.user(
                          "--peers has '%s'; allowed: none, or of %s",
                          name, DecodePeers.ALL.stream().map(DecodePeers.Peer::name).toList())));
    }
    return out;
  }

  private List<String> command(KernelBench.Layout l) {
    return Contestants.java(
        DecodeContestant.class,
        shapeName,
        Integer.toString(l.bits()),
        Integer.toString(l.headBits()),
        Integer.toString(l.kvBits()),
        Integer.toString(l.towerBits()),
        Integer.toString(threads),
        Integer.toString(prompt),
        Integer.toString(tokens),
        Integer.toString(shape.layers()),
        embeddings.toString());
  }
}
