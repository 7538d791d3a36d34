package io.gracebeam.pipelines.run;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.gracebeam.pipelines.plan.RunPlan;
import io.gracebeam.transforms.stages.GramMatrix;
import java.math.BigDecimal;
import java.math.MathContext;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;

/** The report's similarity maps of one photo: what teacher, baseline and student see alike. */
final class GramMaps {
  /** Sides of larger maps are divided, so that the page stays small: means over equal blocks. */
  static final int MOST_SIDE = 192;

  private static final MathContext DIGITS = new MathContext(5);

  private GramMaps() {}

  /**
   * Adds {@code gram} to a report; nothing where no map can be drawn.
   *
   * @param folders artifacts of the finished stages by id
   */
  static void add(
      ObjectNode report, RunPlan plan, Map<String, Path> folders, Optional<ShownPhoto> photo) {
    if (photo.isEmpty()) {
      return;
    }
    ObjectNode gram = report.objectNode();
    gram.put("example", photo.get().example());
    gram.put("photo", photo.get().dataUri());
    ArrayNode maps = gram.putArray("maps");
    Optional<GramMatrix> teacher = Optional.empty();
    for (RunPlan.Shown shown : plan.shown()) {
      Optional<GramMatrix> matrix =
          Optional.ofNullable(folders.get(shown.stage()))
              .flatMap(
                  folder -> GramMatrix.read(folder, photo.get().example()).stream().findFirst())
              .filter(read -> read.tokens() > 0 && read.finite());
      if (matrix.isEmpty()) {
        continue;
      }
      ObjectNode map = maps.addObject();
      map.put("name", shown.name());
      map.put("bits", shown.bits());
      map.put("tokens", matrix.get().tokens());
      draw(map, matrix.get());
      if (shown.teacher()) {
        teacher = matrix;
      } else {
        teacher
            .flatMap(t -> alignment(t, matrix.get()))
            .ifPresent(alignment -> map.put("alignment", rounded(alignment)));
      }
    }
    if (!maps.isEmpty()) {
      report.set("gram", gram);
    }
  }

  private static void draw(ObjectNode map, GramMatrix matrix) {
    int tokens = matrix.tokens();
    int block = (tokens + MOST_SIDE - 1) / MOST_SIDE;
    int side = (tokens + block - 1) / block;
    map.put("n", side);
    ArrayNode values = map.putArray("values");
    for (int i = 0; i < side; i++) {
      for (int j = 0; j < side; j++) {
        // The upper triangle for both halves: sums in another order would differ in the last digit.
        values.add(rounded(mean(matrix, Math.min(i, j) * block, Math.max(i, j) * block, block)));
      }
    }
  }

  private static double mean(GramMatrix matrix, int row, int column, int block) {
    double sum = 0;
    int count = 0;
    for (int i = row; i < Math.min(row + block, matrix.tokens()); i++) {
      for (int j = column; j < Math.min(column + block, matrix.tokens()); j++) {
        sum += matrix.at(i, j);
        count++;
      }
    }
    return sum / count;
  }

  /**
   * Centered kernel alignment of two maps, 1 for maps that differ by a factor only; empty where the
   * numbers of tokens differ or a map is flat.
   */
  static Optional<Double> alignment(GramMatrix a, GramMatrix b) {
    if (a.tokens() != b.tokens()) {
      return Optional.empty();
    }
    double ab = 0;
    double aa = 0;
    double bb = 0;
    for (int i = 0; i < a.tokens(); i++) {
      for (int j = 0; j < a.tokens(); j++) {
        ab += a.at(i, j) * b.at(i, j);
        aa += a.at(i, j) * a.at(i, j);
        bb += b.at(i, j) * b.at(i, j);
      }
    }
    return aa > 0 && bb > 0 ? Optional.of(ab / Math.sqrt(aa * bb)) : Optional.empty();
  }

  private static double rounded(double value) {
    return new BigDecimal(value).round(DIGITS).doubleValue();
  }
}
