package io.gracebeam.transforms.scoring;

import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Where the files of a benchmark are. What is not given is in the dataset's folder, under the name
 * that the format expects there.
 *
 * @param name the benchmark's name in the recipe
 * @param path question file, absolute or inside the dataset's folder; empty for the dataset's own
 * @param images folder of images, likewise; empty for {@code benchmark-images}
 * @param dataset the dataset's folder
 * @param scratch folder of this benchmark alone, which need not exist: a format that carries its
 *     images writes them there
 */
public record BenchmarkFiles(String name, String path, String images, Path dataset, Path scratch) {

  /** The files of a benchmark that a dataset's folder holds. */
  public static BenchmarkFiles ofDataset(String name, Path dataset, Path scratch) {
    return new BenchmarkFiles(name, "", "", dataset, scratch);
  }

  /** The question file; {@code otherwise} is its name in a dataset's folder. */
  public Path questions(String otherwise) {
    return place(path, otherwise);
  }

  /** The folder of images, which need not be there to score answers. */
  public Path imageFolder() {
    return place(images, "benchmark-images");
  }

  /** A path as it stands, or inside the dataset's folder where it names nothing by itself. */
  private Path place(String given, String otherwise) {
    if (given.isEmpty()) {
      return dataset.resolve(otherwise);
    }
    return Files.exists(Path.of(given)) ? Path.of(given) : dataset.resolve(given);
  }
}
