package io.gracebeam.worker.server.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.kernels.DecoderShape;
import io.gracebeam.worker.kernels.KernelBench;
import io.gracebeam.worker.kernels.PackedDecoder;
import io.gracebeam.worker.kernels.RandomWeight;
import io.gracebeam.worker.methods.checkpoint.TensorRows;
import io.gracebeam.worker.methods.family.ModelSizes;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The whole bench on the smallest shape; a shell script plays the peer's Python. */
class DecodeCommandTest {
  private static final String SERVES =
      """
      #!/bin/sh
      if [ "$2" = write ]; then : > "${5#--file=}"; exit 0; fi
      echo about a peer
      echo bytes 1000 0
      while read line; do echo seconds 2.000000 1.000000 finite resident 5000 peak 6000; done
      """;

  @TempDir Path root;
  private final String before = System.getProperty("grace.root");

  @BeforeEach
  void moveRoot() {
    System.setProperty("grace.root", root.toString());
  }

  @AfterEach
  void restoreRoot() {
    if (before == null) {
      System.clearProperty("grace.root");
    } else {
      System.setProperty("grace.root", before);
    }
  }

  private void python(String script) throws IOException {
    Path python = root.resolve("conformance/.venv-peers/bin/python");
    Files.createDirectories(python.getParent());
    Files.writeString(python, script);
    assertThat(python.toFile().setExecutable(true)).isTrue();
  }

  private JsonNode bench(String... more) throws IOException, InterruptedException {
    assumeTrue(nativeKernels(), "there are no native kernels here");
    Path file = root.resolve("out.json");
    List<String> args = new ArrayList<>(List.of("decode", "--shape", "student", "--layers", "1"));
    args.addAll(List.of("--prompt", "8", "--tokens", "2", "--rounds", "1", "--threads", "1"));
    args.addAll(List.of("--layouts", "int4-head4", "--json", file.toString()));
    args.addAll(List.of(more));
    DecodeCommand.run(args.toArray(String[]::new));
    return new ObjectMapper().readTree(file.toFile());
  }

  private static boolean nativeKernels() {
    try (KernelBench bench = new KernelBench(1)) {
      return !bench.describe().isEmpty();
    } catch (UnsupportedOperationException e) {
      return false;
    }
  }

  private static List<String> notes(JsonNode root) {
    List<String> out = new ArrayList<>();
    root.get("notes").forEach(n -> out.add(n.asText()));
    return out;
  }

  private static JsonNode row(JsonNode root, String name) {
    for (JsonNode row : root.get("rows")) {
      if (row.get("name").asText().equals(name)) {
        return row;
      }
    }
    throw new AssertionError(name + " is not among " + root.get("rows"));
  }

  @Test
  void comparesWithThePeerOfAsManyBits() throws Exception {
    python(SERVES);
    JsonNode out = bench("--peers", "llama.cpp-q4_0,llama.cpp-bf16");
    double ours = row(out, "int4-head4 decode").get("value").asDouble();
    assertThat(row(out, "llama.cpp-q4_0 decode").get("value").asDouble()).isEqualTo(2);
    assertThat(row(out, "int4-head4 decode").get("ratios").get("llama.cpp-q4_0").asDouble())
        .isEqualTo(ours / 2);
    assertThat(row(out, "llama.cpp-q4_0 decode").get("ratios").get("llama.cpp-bf16").asDouble())
        .isEqualTo(1);
    assertThat(row(out, "int4-head4 decode").get("ratios").size()).isEqualTo(1);
    assertThat(notes(out)).contains("a peer");
  }

  @Test
  void saysThatThePeerIsNotSetUp() throws Exception {
    JsonNode out = bench();
    assertThat(notes(out))
        .contains("llama.cpp: not measured; conformance/setup-peers makes its environment");
    assertThat(row(out, "int4-head4 decode").has("ratios")).isFalse();
  }

  @Test
  void goesOnWithoutPeersThatFail() throws Exception {
    python(
        """
        #!/bin/sh
        if [ "$2" = write ] && [ "$4" = --format=bf16 ]; then echo left out no room; exit 3; fi
        if [ "$2" = write ] && [ "$4" = --format=q4_0-head8 ]; then exit 7; fi
        if [ "$2" = write ]; then : > "${5#--file=}"; exit 0; fi
        echo bytes 1000 0
        read line
        kill -4 $$
        """);
    JsonNode out = bench();
    assertThat(notes(out))
        .contains(
            "llama.cpp-bf16: left out: no room",
            "llama.cpp-q4_0-head8: left out: bench_decode.py write ended with status 7",
            "llama.cpp-q4_0: left out: llama.cpp-q4_0 ended without a figure (status 132); is the"
                + " memory enough?");
    assertThat(out.get("rows").toString()).doesNotContain("llama.cpp-");
    assertThat(row(out, "int4-head4 decode").get("value").asDouble()).isPositive();
    assertThat(
            row(out, "int4-head4 model, resident, peak, without the JVM")
                .get("ratios")
                .get("grace plan")
                .asDouble())
        .isPositive();
  }

  @Test
  void eachBeginsAnewWhereTheyMayNotStayTogether() throws Exception {
    python(SERVES + "echo ended >> " + root.resolve("turns") + "\n");
    JsonNode out = bench("--peers", "llama.cpp-q4_0", "--together", "no", "--rounds", "2");
    assertThat(notes(out)).contains("each contestant began anew for each turn, alone in memory");
    assertThat(Files.readAllLines(root.resolve("turns"))).hasSize(2);
    assertThat(row(out, "int4-head4 decode").get("ratios").has("llama.cpp-q4_0")).isTrue();
  }

  @Test
  void leavesNoWeightsBehind() throws Exception {
    python(SERVES);
    DecodePeers.Peer peer = DecodePeers.ALL.get(0);
    Path file;
    try (DecodePeers peers = new DecodePeers(DecodeContestant.sizes("student", 1).decoder())) {
      peers.runner(peer, 1, 8, 2);
      file = peers.file(peer);
      assertThat(file).exists();
    }
    assertThat(file.getParent()).doesNotExist();
  }

  /** A true file, longer than a buffer, of numbers that differ; each row can be read. */
  @Test
  void theTableOfEmbeddingsIsAFileUntilTheBenchEnds() throws IOException {
    Path file;
    try (EmbeddingFile table = new EmbeddingFile(1031, 520);
        TensorRows rows = EmbeddingFile.open(table.path())) {
      file = table.path();
      assertThat(Files.size(file)).isBetween(2L * 1031 * 520, 2L * 1031 * 520 + 200);
      float[] row = new float[520];
      Set<Float> seen = new HashSet<>();
      for (int i = 0; i < rows.rows(); i++) {
        rows.row(i, row, 0);
        assertThat(row[i % 520]).matches(v -> Math.abs(v) >= 0.25f && Math.abs(v) < 0.5f);
        seen.add(row[i % 520]);
      }
      assertThat(rows.rows()).isEqualTo(1031);
      assertThat(seen).hasSizeGreaterThan(200); // of 256
    }
    assertThat(file).doesNotExist();
  }

  /** A contestant reads its tokens' rows: without the file it cannot go on. */
  @Test
  void contestantsNeedTheFile() throws Exception {
    assumeTrue(nativeKernels(), "there are no native kernels here");
    Path cut = root.resolve("cut.safetensors");
    try (EmbeddingFile table = new EmbeddingFile(128, 128)) {
      byte[] all = Files.readAllBytes(table.path());
      Files.write(cut, Arrays.copyOf(all, all.length - 1));
    }
    String[] args = {"student", "4", "8", "16", "16", "1", "8", "2", "1", cut.toString()};
    assertThatThrownBy(() -> DecodeContestant.turns(args))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining("within the file's");
  }

  @ParameterizedTest
  @CsvSource({
    "--peers, llama.cpp",
    "--peers, ''",
    "--layouts, int5",
    "--layers, 0",
    "--layers, some",
    "--shape, gpt-2",
    "--rounds, 0",
    "--together, perhaps",
    "--repack, on"
  })
  void refusesOptions(String name, String value) {
    assertThatThrownBy(() -> DecodeCommand.run(new String[] {"decode", name, value}))
        .isInstanceOf(GraceException.class)
        .hasMessageContaining(name.equals("--repack") ? "usage" : name)
        .extracting(e -> ((GraceException) e).category())
        .isEqualTo(Category.USER);
  }

  /** What a process says to hold is what the plan tells, to the byte of a header. */
  @ParameterizedTest
  @CsvSource({"16, 16, 16, 16", "4, 16, 16, 16", "4, 8, 16, 8", "4, 4, 8, 8"})
  void wholeModelsTakeWhatIsPlanned(int bits, int head, int kv, int tower) {
    assumeTrue(nativeKernels(), "there are no native kernels here");
    ModelSizes sizes =
        new ModelSizes(
            new DecoderShape(2, 64, 4, 2, 16, 96, 50, 1e-5f),
            false,
            List.of(new ModelSizes.Linear(2, 48, 32), new ModelSizes.Linear(1, 32, 40)),
            List.of(new ModelSizes.Linear(1, 64, 32)),
            1234,
            16);
    KernelBench.Layout layout = new KernelBench.Layout("", bits, head, kv, tower);
    PackedDecoder.Limits limits = new PackedDecoder.Limits(1, 9, 5, kv);
    try (KernelBench bench = new KernelBench(2);
        Arena arena = Arena.ofShared();
        PackedDecoder decoder = bench.decoder(sizes.decoder(), layout, 32);
        PackedDecoder.Session session = decoder.open(limits)) {
      List<RandomWeight> linears = DecodeContestant.linears(sizes, layout, 32);
      long beside = bench.beside(linears, 2 * sizes.rest(), arena);
      // Linears of 16 bits are planned as plain arrays; here they lie behind headers of 64 bytes.
      long headers = tower == 16 ? 64L * linears.size() : 0;
      assertThat(DecodeContestant.planned(sizes, layout, 32, limits, 2) + headers)
          .isEqualTo(decoder.weightBytes() + session.bytes() + beside);
    }
  }

  @Test
  void estimatesMemory() throws IOException {
    DecoderShape shape = DecodeContestant.sizes("llava-1.5-7b", 99).decoder();
    assertThat(DecodeMemory.bytes(shape, 16, 16)).isBetween(13_100_000_000L, 13_900_000_000L);
    assertThat(DecodeMemory.bytes(shape, 4, 4)).isBetween(3_600_000_000L, 4_400_000_000L);
    ModelSizes whole = DecodeContestant.sizes("llava-1.5-7b", 99);
    assertThat(DecodeMemory.bytes(whole, new KernelBench.Layout("", 16, 16, 16, 16)))
        .isBetween(13_900_000_000L, 14_500_000_000L);
    assertThat(DecodeMemory.fits(List.of(1L))).isTrue();
    assertThat(DecodeMemory.fits(List.of(1L, Long.MAX_VALUE))).isFalse();
  }
}
