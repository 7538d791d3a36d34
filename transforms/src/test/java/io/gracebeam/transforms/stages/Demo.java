package io.gracebeam.transforms.stages;

import static org.assertj.core.api.Assertions.assertThat;

import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.AverageWork;
import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.GenerateRequest;
import io.gracebeam.proto.v1.Question;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.transforms.client.Workers;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.PipelineResult;
import org.apache.beam.sdk.metrics.MetricNameFilter;
import org.apache.beam.sdk.metrics.MetricsFilter;
import org.apache.beam.sdk.testing.TestPipeline;

/** A whole small run: 3 units of extraction, 2 shards in 2 rounds, export, 2 units of questions. */
final class Demo {
  /** Tasks of {@link #apply}: 3 + (2 + 1) * 2 + 1 + 2. */
  static final int TASKS = 12;

  private Demo() {}

  static Pipeline pipeline() {
    return TestPipeline.create().enableAbandonedNodeEnforcement(false);
  }

  static ArtifactRef ref(String kind, char digit) {
    return ArtifactRef.newBuilder()
        .setKind(kind)
        .setSha256(String.valueOf(digit).repeat(64))
        .setUri("file:///given/" + kind)
        .build();
  }

  static List<StageTask> units(Path store) {
    List<StageTask> units = new ArrayList<>();
    for (int unit = 0; unit < 3; unit++) {
      units.add(
          StageTask.of(
                  "extract/unit-" + unit,
                  "extract",
                  ExtractRequest.newBuilder().setFirst(10L * unit).setCount(10).build(),
                  0,
                  store.toUri().toString())
              .withInput("teacher", ref("model", '1'))
              .withInput("dataset", ref("dataset", '2')));
    }
    return units;
  }

  static StageTask shard(Path store, int round, int shard) {
    TrainWork work =
        TrainWork.newBuilder().setRound(round).setRounds(2).setShard(shard).setShards(2).build();
    StageTask task =
        StageTask.of(
                "train/round-" + round + "/shard-" + shard,
                "train",
                work,
                7,
                store.toUri().toString())
            .withInput("dataset", ref("dataset", '2'))
            .withReference("signals", "extract/unit-0");
    return round == 0
        ? task.withInput("student", ref("model", '3'))
        : task.withReference("student", "train/round-0/average#model");
  }

  static StageTask average(Path store, int round) {
    return StageTask.of(
            "train/round-" + round + "/average",
            "average",
            AverageWork.newBuilder().setShards(2).build(),
            7,
            store.toUri().toString())
        .withInput("previous", ref("model", '3'))
        .withReference("shard-0", "train/round-" + round + "/shard-0")
        .withReference("shard-1", "train/round-" + round + "/shard-1");
  }

  static StageTask export(Path store) {
    return StageTask.of(
            "export",
            "export",
            ExportWork.newBuilder().setFormat("pack-quantized").build(),
            0,
            store.toUri().toString())
        .withReference("trained", "train/round-1/average");
  }

  static StageTask questions(Path store, int unit) {
    GenerateRequest.Builder request = GenerateRequest.newBuilder().setMaxNewTokens(8).setBatch(2);
    for (int i = 9; i >= 0; i--) {
      request.addQuestions(
          Question.newBuilder().setId("q-" + unit + "-" + i).setPrompt("What is at " + i + "?"));
    }
    return StageTask.of(
            "answers/unit-" + unit, "answer", request.build(), 0, store.toUri().toString())
        .withReference("model", "export");
  }

  static StageChain apply(Pipeline pipeline, Workers workers, Path store) {
    StageChain chain = StageChain.of(pipeline, workers);
    chain.then("Extract", units(store));
    for (int round = 0; round < 2; round++) {
      chain.then("Train" + round, List.of(shard(store, round, 0), shard(store, round, 1)));
      chain.then("Average" + round, List.of(average(store, round)));
    }
    chain.then("Export", List.of(export(store)));
    chain.then("Answer", List.of(questions(store, 0), questions(store, 1)));
    return chain;
  }

  static PipelineResult run(Workers workers, Path store) {
    Pipeline pipeline = pipeline();
    apply(pipeline, workers, store);
    PipelineResult result = pipeline.run();
    result.waitUntilFinish();
    return result;
  }

  /**
   * Checks a counter from above only: the direct runner adds up the last bundles' metrics on a
   * thread that it may stop before, so what workers and stores saw is the proof.
   */
  static void assertCounter(PipelineResult result, String name, long expected) {
    assertThat(counter(result, name)).as(name).isBetween(expected == 0 ? 0 : 1L, expected);
  }

  private static long counter(PipelineResult result, String name) {
    long sum = 0;
    var filter =
        MetricsFilter.builder().addNameFilter(MetricNameFilter.named("gracebeam", name)).build();
    for (var counter : result.metrics().queryMetrics(filter).getCounters()) {
      sum += counter.getAttempted();
    }
    return sum;
  }

  /** Every published file of a store, manifests included, with its bytes as text. */
  static SortedMap<String, String> published(Path store) {
    SortedMap<String, String> files = new TreeMap<>();
    try (Stream<Path> paths = Files.walk(store)) {
      for (Path path : paths.filter(Files::isRegularFile).toList()) {
        files.put(
            store.relativize(path).toString(),
            new String(Files.readAllBytes(path), StandardCharsets.ISO_8859_1));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return files;
  }
}
