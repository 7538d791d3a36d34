package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.DecoderShape;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Decoders of llama.cpp, run by {@code conformance/bench_decode.py} on files of random weights,
 * which lie in a folder of their own until the bench ends.
 */
final class DecodePeers implements AutoCloseable {
  static final String PREFIX = "llama.cpp-";

  /**
   * Bits of a peer's weights.
   *
   * @param format the script's name of it
   */
  record Peer(String format, int bits, int headBits) {
    String name() {
      return PREFIX + format;
    }
  }

  static final List<Peer> ALL =
      List.of(
          new Peer("bf16", 16, 16),
          new Peer("q4_0-head16", 4, 16),
          new Peer("q4_0-head8", 4, 8),
          new Peer("q4_0", 4, 4));

  private static final String ENVIRONMENT = ".venv-peers";
  private static final String SCRIPT = "bench_decode.py";

  private final Path folder;

  /** Removes the folder where the bench is interrupted: it may hold 20 GB. */
  private final Thread interrupted = new Thread(this::removeQuietly);

  private final String shape;

  /** Makes the folder. */
  DecodePeers(DecoderShape s) throws IOException {
    this.folder = Files.createTempDirectory("grace-bench-decode");
    Runtime.getRuntime().addShutdownHook(interrupted);
    this.shape =
        IntStream.of(s.layers(), s.width(), s.heads(), s.kvHeads(), s.headDim(), s.mlp(), s.vocab())
            .mapToObj(Integer::toString)
            .collect(Collectors.joining(","));
  }

  /** Whether the peers' environment was set up. */
  static boolean ready() {
    return !Contestants.scriptIn(ENVIRONMENT, SCRIPT).isEmpty();
  }

  /** The peer whose weights have as many bits. */
  static Optional<Peer> like(int bits, int headBits) {
    return ALL.stream().filter(p -> p.bits == bits && p.headBits == headBits).findFirst();
  }

  /**
   * Writes the peer's weights.
   *
   * @return what runs it
   * @throws GraceException worker, with the script's reason why the peer is left out
   */
  DecodeRunner runner(Peer peer, int threads, int prompt, int tokens)
      throws IOException, InterruptedException {
    Path file = file(peer);
    System.err.printf("writing random weights of %s%n", peer.name());
    write(peer, file);
    List<String> serve =
        Contestants.scriptIn(
            ENVIRONMENT,
            SCRIPT,
            "serve",
            "--file=" + file,
            "--threads=" + threads,
            "--prompt=" + prompt,
            "--tokens=" + tokens);
    return new DecodeRunner(peer.name(), () -> Contestants.startForeign(serve));
  }

  /** Where the peer's weights lie. */
  Path file(Peer peer) {
    return folder.resolve(peer.format + ".gguf");
  }

  private void write(Peer peer, Path file) throws IOException, InterruptedException {
    Process process =
        Contestants.startForeign(
            Contestants.scriptIn(
                ENVIRONMENT,
                SCRIPT,
                "write",
                "--shape=" + shape,
                "--format=" + peer.format,
                "--file=" + file));
    String last = "";
    try (BufferedReader out = process.inputReader()) {
      for (String line = out.readLine(); line != null; line = out.readLine()) {
        last = line;
      }
    }
    if (process.waitFor() != 0) {
      throw GraceException.worker(
          "%s",
          last.startsWith("left out ")
              ? last.substring("left out ".length())
              : SCRIPT + " write ended with status " + process.exitValue());
    }
  }

  /** Removes the weights. */
  @Override
  public void close() throws IOException {
    try {
      Runtime.getRuntime().removeShutdownHook(interrupted);
    } catch (IllegalStateException e) {
      return; // The program ends already: the hook removes them.
    }
    remove();
  }

  private void removeQuietly() {
    try {
      remove();
    } catch (IOException e) {
      System.err.printf("%s could not be removed: %s%n", folder, e);
    }
  }

  private void remove() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.toList()) {
        Files.delete(file);
      }
    }
    Files.delete(folder);
  }
}
