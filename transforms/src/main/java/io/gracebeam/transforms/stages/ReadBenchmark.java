package io.gracebeam.transforms.stages;

import com.google.auto.value.AutoValue;
import io.gracebeam.transforms.scoring.BenchmarkFiles;
import io.gracebeam.transforms.scoring.BenchmarkFormat;
import io.gracebeam.transforms.scoring.Question;
import java.nio.file.Path;
import java.util.List;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.values.PBegin;
import org.apache.beam.sdk.values.PCollection;

/**
 * Reads the questions of a benchmark in a dataset's folder, such as {@code pope.json}, for {@link
 * AnswerQuestions}. The files are read when the pipeline runs.
 */
@AutoValue
public abstract class ReadBenchmark extends PTransform<PBegin, PCollection<QuestionRow>> {

  abstract String format();

  abstract String dataset();

  abstract String scratch();

  abstract int limit();

  /**
   * Reads all questions.
   *
   * @param format name of a benchmark format, for instance {@code pope}
   * @param dataset folder that holds the benchmark's files
   * @param scratch folder for images that a question file carries within itself
   * @throws io.gracebeam.proto.error.GraceException (user) for an unknown format
   */
  public static ReadBenchmark of(String format, Path dataset, Path scratch) {
    BenchmarkFormat.all().get(format);
    return new AutoValue_ReadBenchmark(format, dataset.toString(), scratch.toString(), 0);
  }

  /** Reads only the first questions; those that are scored together stay together. */
  public ReadBenchmark withMaxQuestions(int questions) {
    return new AutoValue_ReadBenchmark(
        format(),
        dataset(),
        scratch(),
        Settings.positive("ReadBenchmark", "withMaxQuestions", questions));
  }

  @Override
  public PCollection<QuestionRow> expand(PBegin begin) {
    return begin.apply("Format", Create.of(format())).apply("Read", ParDo.of(new ReadFn(this)));
  }

  /** The questions with their right answers, from the files. */
  List<Question> read() {
    BenchmarkFormat known = BenchmarkFormat.all().get(format());
    BenchmarkFiles files =
        BenchmarkFiles.ofDataset(format(), Path.of(dataset()), Path.of(scratch()));
    return known.read(files, known.promptStyle()).first(limit());
  }

  private static final class ReadFn extends DoFn<String, QuestionRow> {
    private static final long serialVersionUID = 1L;
    private final ReadBenchmark settings;

    ReadFn(ReadBenchmark settings) {
      this.settings = settings;
    }

    @ProcessElement
    public void process(OutputReceiver<QuestionRow> out) {
      for (Question question : settings.read()) {
        out.output(QuestionRow.of(question.id(), question.images(), question.prompt(), List.of()));
      }
    }
  }
}
