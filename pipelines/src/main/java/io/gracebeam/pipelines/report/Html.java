package io.gracebeam.pipelines.report;

import java.util.Locale;

/**
 * Text that goes into a page. Everything that comes from outside passes through {@link #escape}.
 */
final class Html {
  private Html() {}

  /**
   * Escapes text for element content and for quoted attributes; control characters become spaces.
   */
  static String escape(String text) {
    StringBuilder out = new StringBuilder(text.length() + 16);
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      switch (c) {
        case '&' -> out.append("&amp;");
        case '<' -> out.append("&lt;");
        case '>' -> out.append("&gt;");
        case '"' -> out.append("&quot;");
        case '\'' -> out.append("&#39;");
        default -> out.append(c < ' ' && c != '\n' && c != '\t' ? ' ' : c);
      }
    }
    return out.toString();
  }

  /** Opens a section of the page, with a heading and, where there is one, a paragraph below it. */
  static void section(StringBuilder page, String title, String lead) {
    page.append("<section><h2>").append(escape(title)).append("</h2>");
    if (!lead.isEmpty()) {
      page.append("<p class=\"lead\">").append(escape(lead)).append("</p>");
    }
  }

  /** A share as a percentage with one decimal. */
  static String percent(double share) {
    return String.format(Locale.ROOT, "%.1f", 100 * share);
  }

  /** A difference of shares in points, with its sign. */
  static String points(double difference) {
    return String.format(Locale.ROOT, "%+.1f", 100 * difference);
  }

  /** Bytes in the largest unit that leaves at least one whole. */
  static String bytes(double count) {
    if (count < 1000) {
      return String.format(Locale.ROOT, "%.0f B", count);
    }
    String[] units = {"kB", "MB", "GB", "TB"};
    int unit = -1;
    double value = count;
    while (value >= 1000 && unit < units.length - 1) {
      value /= 1000;
      unit++;
    }
    return String.format(Locale.ROOT, value < 10 ? "%.2f %s" : "%.1f %s", value, units[unit]);
  }

  /** Seconds as {@code 4.2 s}, {@code 3 min 20 s} or {@code 1 h 02 min}. */
  static String seconds(double value) {
    if (value < 100) {
      return String.format(Locale.ROOT, "%.1f s", value);
    }
    long whole = Math.round(value);
    return whole < 3600
        ? String.format(Locale.ROOT, "%d min %02d s", whole / 60, whole % 60)
        : String.format(Locale.ROOT, "%d h %02d min", whole / 3600, whole % 3600 / 60);
  }
}
