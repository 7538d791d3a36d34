package io.gracebeam.transforms.stages;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.auto.value.AutoValue;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.TeacherCache;
import io.gracebeam.transforms.client.Workers;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionView;
import org.apache.beam.sdk.values.PInput;
import org.apache.beam.sdk.values.POutput;
import org.apache.beam.sdk.values.PValue;
import org.apache.beam.sdk.values.TupleTag;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * Extracts what a teacher knows of the examples of datasets: logits and similarities of visual
 * tokens in artifacts, and one {@link TokenRow} for each supervised token.
 *
 * <p>An element is a dataset: an artifact whose folder holds {@code train.json} (LLaVA
 * conversations) and the images. It is cut into units of {@link #withExamplesPerUnit} examples, in
 * the order of the file. Each unit is an artifact in the store: a unit that was extracted before is
 * read, not extracted.
 *
 * <p>{@link Result#errors} holds examples that the worker refused. Everything else that fails fails
 * the pipeline with one line.
 */
@AutoValue
public abstract class ExtractTeacher
    extends PTransform<PCollection<Artifact>, ExtractTeacher.Result> {
  private static final String NAME = "ExtractTeacher";
  private static final TupleTag<TokenRow> TOKENS = new TupleTag<>("tokens") {};

  abstract Workers workers();

  abstract @Nullable String store();

  abstract @Nullable Given teacher();

  abstract TeacherCache cache();

  abstract double temperature();

  abstract int maxExamples();

  abstract int examplesPerUnit();

  abstract Builder toBuilder();

  /**
   * Extracts on the given workers: the 64 most probable logits of each token, similarities in
   * bfloat16, temperature 1, units of 512 examples.
   */
  public static ExtractTeacher on(Workers workers) {
    return new AutoValue_ExtractTeacher.Builder()
        .workers(workers)
        .cache(TeacherCache.newBuilder().setForm("top-k").setTopK(64).setGram("bf16").build())
        .temperature(1)
        .maxExamples(0)
        .examplesPerUnit(512)
        .build();
  }

  /** Sets the artifact store: a URI, or a folder. Required. */
  public ExtractTeacher intoStore(String store) {
    return toBuilder().store(Settings.store(NAME, store)).build();
  }

  /** Sets the teacher. Required. */
  public ExtractTeacher withTeacher(Artifact teacher) {
    return toBuilder().teacher(Given.of(teacher)).build();
  }

  /** Sets the teacher to the only element of a collection. */
  public ExtractTeacher withTeacher(PCollectionView<Artifact> teacher) {
    return toBuilder().teacher(Given.of(teacher)).build();
  }

  /** Sets which signals are kept, as {@code teacher_cache} of a recipe. */
  public ExtractTeacher withCache(TeacherCache cache) {
    return toBuilder().cache(cache).build();
  }

  /** Sets the temperature of the cached probabilities. */
  public ExtractTeacher withTemperature(double temperature) {
    if (!(temperature > 0) || Double.isInfinite(temperature)) {
      throw GraceException.user(
          "%s: withTemperature is %s; it must be above 0 and finite", NAME, temperature);
    }
    return toBuilder().temperature(temperature).build();
  }

  /** Takes only the first examples of each dataset. */
  public ExtractTeacher withMaxExamples(int examples) {
    return toBuilder().maxExamples(Settings.positive(NAME, "withMaxExamples", examples)).build();
  }

  /** Sets how many examples make one unit of work, and one artifact. */
  public ExtractTeacher withExamplesPerUnit(int examples) {
    return toBuilder()
        .examplesPerUnit(Settings.positive(NAME, "withExamplesPerUnit", examples))
        .build();
  }

  @Override
  public Result expand(PCollection<Artifact> datasets) {
    Settings.bounded(NAME, datasets);
    Settings.required(NAME, "intoStore", store());
    Given teacher = Settings.required(NAME, "withTeacher", teacher());
    StageOutputs outputs =
        datasets
            .apply("Units", ParDo.of(new UnitsFn(this)).withSideInputs(teacher.sideInputs()))
            .apply("Extract", RunStages.on(workers()));
    return new Result(outputs.results().apply("Read", ParDo.of(new ReadFn())), outputs);
  }

  private static final class UnitsFn extends DoFn<Artifact, StageTask> {
    private static final long serialVersionUID = 1L;
    private final ExtractTeacher settings;

    UnitsFn(ExtractTeacher settings) {
      this.settings = settings;
    }

    @ProcessElement
    public void process(ProcessContext context) {
      Artifact dataset = context.element();
      int total = examples(Artifacts.fetch(dataset.ref(), "train.json"));
      int most = settings.maxExamples() == 0 ? total : Math.min(total, settings.maxExamples());
      int unit = settings.examplesPerUnit();
      for (int first = 0; first < most; first += unit) {
        ExtractRequest work =
            ExtractRequest.newBuilder()
                .setFirst(first)
                .setCount(Math.min(unit, most - first))
                .setCache(settings.cache())
                .setTemperature(settings.temperature())
                .build();
        String id = "extract/%.12s/u%04d".formatted(dataset.getSha256(), first / unit);
        context.output(
            StageTask.of(id, "extract", work, 0, settings.store())
                .withInput("teacher", settings.teacher().get(context).ref())
                .withInput("dataset", dataset.ref()));
      }
    }

    private static int examples(Path file) {
      int count = 0;
      try (JsonParser json = new ObjectMapper().createParser(file.toFile())) {
        if (json.nextToken() != JsonToken.START_ARRAY) {
          throw GraceException.data("%s: is no JSON list of examples", file);
        }
        for (; json.nextToken() != JsonToken.END_ARRAY; count++) {
          json.skipChildren();
        }
      } catch (IOException e) {
        throw GraceException.data("%s: is missing or no JSON list: %s", file, e.getMessage())
            .withCause(e);
      }
      return count;
    }
  }

  private static final class ReadFn extends DoFn<StageResult, TokenRow> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element StageResult result, OutputReceiver<TokenRow> out) {
      Signals.rows(result.getTaskId(), result.manifest().getArtifact()).forEach(out::output);
    }
  }

  @AutoValue.Builder
  abstract static class Builder {
    abstract Builder workers(Workers workers);

    abstract Builder store(String store);

    abstract Builder teacher(Given teacher);

    abstract Builder cache(TeacherCache cache);

    abstract Builder temperature(double temperature);

    abstract Builder maxExamples(int examples);

    abstract Builder examplesPerUnit(int examples);

    abstract ExtractTeacher build();
  }

  /** Tokens, the units that hold the signals, and the examples that could not be used. */
  public static final class Result implements POutput {
    private final PCollection<TokenRow> tokens;
    private final StageOutputs outputs;

    private Result(PCollection<TokenRow> tokens, StageOutputs outputs) {
      this.tokens = tokens;
      this.outputs = outputs;
    }

    /** One row for each supervised token. */
    public PCollection<TokenRow> tokens() {
      return tokens;
    }

    /** One result for each unit; {@link JoinSignals} makes one artifact of them. */
    public PCollection<StageResult> units() {
      return outputs.results();
    }

    /** Refused examples. */
    public PCollection<DeadLetter> errors() {
      return outputs.deadLetters();
    }

    @Override
    public Pipeline getPipeline() {
      return tokens.getPipeline();
    }

    @Override
    public Map<TupleTag<?>, PValue> expand() {
      return Map.of(
          TOKENS,
          tokens,
          StageOutputs.RESULTS,
          outputs.results(),
          StageOutputs.DEAD_LETTERS,
          outputs.deadLetters());
    }

    @Override
    public void finishSpecifyingOutput(String name, PInput input, PTransform<?, ?> transform) {}
  }
}
