package io.gracebeam.templates.toys;

import com.google.protobuf.StringValue;
import io.gracebeam.worker.methods.stages.StageJob;
import io.gracebeam.worker.methods.stages.StageWork;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/** What a worker does for {@link ToyRows}. */
public final class ToyWork implements StageWork {
  static final String FILE = "text.txt";

  /** For the service loader. */
  public ToyWork() {}

  @Override
  public String stage() {
    return "toy-append";
  }

  @Override
  public Map<String, Double> run(StageJob job) {
    Path text = job.inputs().get("text").resolve(FILE);
    try {
      String longer = Files.readString(text) + " " + job.work(StringValue.class).getValue();
      Files.writeString(job.out().resolve(FILE), longer);
      return Map.of("letters", (double) longer.length());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
