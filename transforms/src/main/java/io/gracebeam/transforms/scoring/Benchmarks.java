package io.gracebeam.transforms.scoring;

import io.gracebeam.proto.error.GraceException;
import java.nio.file.Path;

/** Opens a benchmark of a dataset folder by its format name. */
public final class Benchmarks {
  private Benchmarks() {}

  /**
   * The benchmark {@code format} of a dataset folder, with images in {@code benchmark-images}:
   * {@code pope} ({@code pope.json}), {@code scienceqa} ({@code scienceqa.json}, {@code
   * scienceqa_split.json}, split test), {@code mmbench} ({@code mmbench.tsv}, circular; its images
   * are written to {@code scratch}), {@code open} ({@code open.json}).
   */
  public static Benchmark open(String format, Path dataset, Path scratch, PromptStyle style) {
    Path images = dataset.resolve("benchmark-images");
    switch (format) {
      case "pope":
        return Pope.read(dataset.resolve("pope.json"), images, style);
      case "open":
        return OpenAnswers.read(dataset.resolve("open.json"), images, style);
      case "scienceqa":
        return ScienceQa.read(
            dataset.resolve("scienceqa.json"),
            dataset.resolve("scienceqa_split.json"),
            "test",
            images,
            style);
      case "mmbench":
        MmBench mmbench = MmBench.read(dataset.resolve("mmbench.tsv"), scratch, style, true);
        mmbench.writeImages();
        return mmbench;
      default:
        throw GraceException.user(
            "benchmark format is %s; allowed is pope, scienceqa, mmbench or open", format);
    }
  }
}
