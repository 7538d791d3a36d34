package io.gracebeam.pipelines.report;

import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import javax.imageio.ImageIO;

/** Charts as inline SVG, and heat maps as inline PNG. The same data gives the same characters. */
final class Charts {
  private static final int WIDTH = 720;
  private static final int LEFT = 56;
  private static final int RIGHT = 16;

  private Charts() {}

  /**
   * One line of a chart.
   *
   * @param name shown in the legend and on hover
   * @param x horizontal positions
   * @param y values, as many
   */
  record Line(String name, double[] x, double[] y) {}

  /**
   * A share with its interval.
   *
   * @param name row label
   * @param group class of its color
   * @param low lower end, 0 to 1
   * @param mid estimate
   * @param high upper end
   */
  record Interval(String name, String group, double low, double mid, double high) {}

  /** Dots with intervals, one row each, on a common axis in percent. */
  static String intervals(String title, List<Interval> rows) {
    double low = rows.stream().mapToDouble(Interval::low).min().orElse(0);
    double high = rows.stream().mapToDouble(Interval::high).max().orElse(1);
    double pad = Math.max(0.01, (high - low) * 0.08);
    low = Math.max(0, low - pad);
    high = Math.min(1, high + pad);
    int left = 150;
    int height = rows.size() * 26 + 40;
    StringBuilder svg = open(title, height);
    double[] ticks = ticks(low * 100, high * 100);
    for (double tick : ticks) {
      double x = scale(tick / 100, low, high, left, WIDTH - RIGHT);
      svg.append(line("grid", x, 8, x, height - 28))
          .append(label(x, height - 10, "middle", number(tick) + " %"));
    }
    int y = 22;
    for (Interval row : rows) {
      double a = scale(row.low(), low, high, left, WIDTH - RIGHT);
      double b = scale(row.high(), low, high, left, WIDTH - RIGHT);
      double m = scale(row.mid(), low, high, left, WIDTH - RIGHT);
      svg.append(label(left - 10, y + 4, "end", row.name()));
      svg.append("<g class=\"iv ").append(row.group()).append("\"><title>");
      svg.append(
          Html.escape(
              row.name()
                  + ": "
                  + Html.percent(row.mid())
                  + " % ("
                  + Html.percent(row.low())
                  + " to "
                  + Html.percent(row.high())
                  + ")"));
      svg.append("</title>").append(line("bar", a, y, b, y));
      svg.append(String.format(Locale.ROOT, "<circle cx=\"%.1f\" cy=\"%d\" r=\"5\"/></g>", m, y));
      y += 26;
    }
    return svg.append("</svg>").toString();
  }

  /** Lines over a common horizontal axis, with a legend below. */
  static String lines(String title, String xName, List<Line> lines) {
    double xLow = Double.MAX_VALUE;
    double xHigh = -Double.MAX_VALUE;
    double yLow = Double.MAX_VALUE;
    double yHigh = -Double.MAX_VALUE;
    for (Line line : lines) {
      for (int i = 0; i < line.x().length; i++) {
        if (Double.isFinite(line.y()[i])) {
          xLow = Math.min(xLow, line.x()[i]);
          xHigh = Math.max(xHigh, line.x()[i]);
          yLow = Math.min(yLow, line.y()[i]);
          yHigh = Math.max(yHigh, line.y()[i]);
        }
      }
    }
    if (xLow > xHigh) {
      return "<p class=\"none\">" + Html.escape(title) + ": nothing recorded.</p>";
    }
    if (yHigh - yLow < 1e-9) {
      yHigh = yLow + Math.max(1e-3, Math.abs(yLow) * 0.1);
    }
    int height = 260;
    int bottom = height - 40;
    StringBuilder svg = open(title, height);
    for (double tick : ticks(yLow, yHigh)) {
      double y = scale(tick, yLow, yHigh, bottom, 12);
      svg.append(line("grid", LEFT, y, WIDTH - RIGHT, y))
          .append(label(LEFT - 8, y + 4, "end", number(tick)));
    }
    for (double tick : ticks(xLow, xHigh)) {
      svg.append(
          label(
              scale(tick, xLow, xHigh, LEFT, WIDTH - RIGHT), bottom + 18, "middle", number(tick)));
    }
    svg.append(label(WIDTH - RIGHT, height - 6, "end", xName));
    StringBuilder legend = new StringBuilder("<div class=\"legend\">");
    for (int i = 0; i < lines.size(); i++) {
      Line line = lines.get(i);
      svg.append("<polyline class=\"c").append(i % 8).append("\" points=\"");
      for (int p = 0; p < line.x().length; p++) {
        if (Double.isFinite(line.y()[p])) {
          svg.append(
              String.format(
                  Locale.ROOT,
                  "%.1f,%.1f ",
                  scale(line.x()[p], xLow, xHigh, LEFT, WIDTH - RIGHT),
                  scale(line.y()[p], yLow, yHigh, bottom, 12)));
        }
      }
      svg.append("\"><title>").append(Html.escape(line.name())).append("</title></polyline>");
      legend
          .append("<span><i class=\"c")
          .append(i % 8)
          .append("\"></i>")
          .append(Html.escape(line.name()))
          .append("</span>");
    }
    return svg.append("</svg>").append(legend).append("</div>").toString();
  }

  /**
   * Bars with a height between 0 and 1.
   *
   * @param labels below each bar
   * @param notes shown on hover
   */
  static String bars(
      String title, String xName, String[] labels, double[] heights, String[] notes) {
    int height = 240;
    int bottom = height - 44;
    StringBuilder svg = open(title, height);
    double top = 0;
    for (double value : heights) {
      top = Math.max(top, value);
    }
    top = Math.min(1, Math.max(0.05, top * 1.1));
    for (double tick : ticks(0, top)) {
      double y = scale(tick, 0, top, bottom, 12);
      svg.append(line("grid", LEFT, y, WIDTH - RIGHT, y))
          .append(label(LEFT - 8, y + 4, "end", number(100 * tick) + " %"));
    }
    double step = (double) (WIDTH - RIGHT - LEFT) / Math.max(1, heights.length);
    for (int i = 0; i < heights.length; i++) {
      double y = scale(heights[i], 0, top, bottom, 12);
      svg.append(
          String.format(
              Locale.ROOT,
              "<rect class=\"c0\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\""
                  + " rx=\"2\"><title>%s</title></rect>",
              LEFT + i * step + step * 0.12,
              y,
              step * 0.76,
              Math.max(0, bottom - y),
              Html.escape(notes[i])));
      if (heights.length <= 12 || i % 2 == 0) {
        svg.append(label(LEFT + (i + 0.5) * step, bottom + 16, "middle", labels[i]));
      }
    }
    return svg.append(label(WIDTH - RIGHT, height - 6, "end", xName)).append("</svg>").toString();
  }

  /** A square matrix, row-major {@code [n, n]}, as a PNG data URI; blue below zero, red above. */
  static String heatMap(double[] matrix, int n) {
    double peak = 1e-12;
    for (double value : matrix) {
      peak = Math.max(peak, Math.abs(value));
    }
    BufferedImage image = new BufferedImage(n, n, BufferedImage.TYPE_INT_RGB);
    for (int i = 0; i < n * n; i++) {
      double t = Math.cbrt(matrix[i] / peak);
      int fade = (int) Math.round(255 * (1 - Math.abs(t)));
      int rgb =
          t >= 0
              ? (255 - (255 - fade) / 6) << 16 | fade << 8 | fade
              : fade << 16 | (fade + 255) / 2 << 8 | 255;
      image.setRGB(i % n, i / n, rgb);
    }
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    try {
      ImageIO.write(image, "png", out);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return "data:image/png;base64," + Base64.getEncoder().encodeToString(out.toByteArray());
  }

  private static StringBuilder open(String title, int height) {
    return new StringBuilder("<svg viewBox=\"0 0 ")
        .append(WIDTH)
        .append(' ')
        .append(height)
        .append("\" role=\"img\" aria-label=\"")
        .append(Html.escape(title))
        .append("\">");
  }

  private static String line(String style, double x1, double y1, double x2, double y2) {
    return String.format(
        Locale.ROOT,
        "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>",
        style,
        x1,
        y1,
        x2,
        y2);
  }

  private static String label(double x, double y, String anchor, String text) {
    return String.format(
        Locale.ROOT,
        "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>",
        x,
        y,
        anchor,
        Html.escape(text));
  }

  private static double scale(double value, double low, double high, double from, double to) {
    return high <= low ? from : from + (value - low) / (high - low) * (to - from);
  }

  /**
   * Round numbers inside an interval: steps of 1, 2 or 5 times a power of ten, four to eight of
   * them.
   */
  static double[] ticks(double low, double high) {
    double span = high - low;
    if (!(span > 0)) {
      return new double[] {low};
    }
    double step = Math.pow(10, Math.floor(Math.log10(span / 4)));
    while (span / step > 8) {
      step *= span / step > 20 ? 5 : 2;
    }
    long from = (long) Math.ceil(low / step - 1e-9);
    long to = (long) Math.floor(high / step + 1e-9);
    double[] ticks = new double[(int) (to - from + 1)];
    for (int i = 0; i < ticks.length; i++) {
      ticks[i] = (from + i) * step;
    }
    return ticks;
  }

  private static String number(double value) {
    if (value == Math.rint(value) && Math.abs(value) < 1e7) {
      return Long.toString((long) value);
    }
    int digits = (int) Math.max(3, 2 - Math.floor(Math.log10(Math.abs(value))));
    String text = String.format(Locale.ROOT, "%." + digits + "f", value);
    return text.replaceAll("0+$", "").replaceAll("\\.$", "");
  }
}
