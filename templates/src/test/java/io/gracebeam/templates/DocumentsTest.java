package io.gracebeam.templates;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.gracebeam.pipelines.cli.GraceCommand;
import io.gracebeam.proto.recipe.RecipeReader;
import io.gracebeam.proto.v1.Recipe;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** What the Markdown files point at exists, and the recipe's keys stand in their document. */
class DocumentsTest {
  private static final Path ROOT = Path.of("..").toAbsolutePath().normalize();
  private static final Pattern LINK = Pattern.compile("\\]\\(([^)\\s]+)\\)");
  private static final Pattern FENCE = Pattern.compile("(?ms)^```.*?^```$");
  private static final Pattern HEADING = Pattern.compile("(?m)^#+ (.*)$");
  private static final Pattern COMMAND = Pattern.compile("(?:\\./|[`\"'])grace ([a-z]+)([^`\n]*)");
  private static final Pattern OPTION = Pattern.compile("(?<![\\w-])--[a-z][a-z-]*");
  private static final Pattern KEY = Pattern.compile("(?m)^\\| (`[^|]*`) \\| ([^|]*) \\|");

  /** Started by the launcher without picocli. */
  private static final Set<String> OTHERS = Set.of("worker", "bench");

  private static List<Path> documents() throws IOException {
    List<Path> out = new ArrayList<>();
    for (String folder : List.of("", "docs")) {
      try (Stream<Path> files = Files.list(ROOT.resolve(folder))) {
        files.filter(f -> f.toString().endsWith(".md")).forEach(out::add);
      }
    }
    assertThat(out).hasSizeGreaterThan(6);
    return out;
  }

  /** As GitHub names a heading. */
  private static String anchor(String heading) {
    return heading
        .toLowerCase(Locale.ROOT)
        .replaceAll("[^\\p{Alnum}\\s_-]", "")
        .strip()
        .replace(' ', '-');
  }

  private static Set<String> anchors(Path file) throws IOException {
    Set<String> out = new HashSet<>();
    Matcher heading = HEADING.matcher(FENCE.matcher(Files.readString(file)).replaceAll(""));
    while (heading.find()) {
      out.add(anchor(heading.group(1)));
    }
    return out;
  }

  @Test
  void everyRelativeLinkLeadsSomewhere() throws IOException {
    int links = 0;
    for (Path document : documents()) {
      Matcher link = LINK.matcher(FENCE.matcher(Files.readString(document)).replaceAll(""));
      while (link.find()) {
        String target = link.group(1);
        if (target.contains("://")) {
          continue;
        }
        links++;
        String[] parts = target.split("#", 2);
        Path file = parts[0].isEmpty() ? document : document.resolveSibling(parts[0]);
        assertThat(file).as("%s: %s", document.getFileName(), target).exists();
        if (parts.length > 1) {
          assertThat(anchors(file)).as("%s: %s", document.getFileName(), target).contains(parts[1]);
        }
      }
    }
    assertThat(links).isGreaterThan(20);
  }

  @Test
  void everyCommandAndOptionExists() throws IOException {
    var known = GraceCommand.commandLine().getSubcommands();
    int commands = 0;
    for (Path document : documents()) {
      Matcher command = COMMAND.matcher(Files.readString(document));
      while (command.find()) {
        commands++;
        String name = command.group(1);
        if (OTHERS.contains(name)) {
          continue;
        }
        assertThat(known).as("%s: %s", document.getFileName(), command.group()).containsKey(name);
        Matcher option = OPTION.matcher(command.group(2));
        while (option.find()) {
          assertThat(known.get(name).getCommandSpec().optionsMap())
              .as("%s: %s", document.getFileName(), command.group())
              .containsKey(option.group());
        }
      }
    }
    assertThat(commands).isGreaterThan(15);
  }

  @Test
  void theReadmeIsShort() throws IOException {
    assertThat(Files.readAllLines(ROOT.resolve("README.md"))).hasSizeLessThanOrEqualTo(120);
  }

  @Test
  void everyKeyOfARecipeStandsInItsDocumentWithItsDefault() throws IOException {
    Map<String, String> written = new HashMap<>();
    Matcher row = KEY.matcher(Files.readString(ROOT.resolve("docs/recipes.md")));
    while (row.find()) {
      for (String key : row.group(1).split(", ")) {
        written.put(key.replace("`", ""), row.group(2).replace("`", "").strip());
      }
    }
    Recipe least =
        RecipeReader.resolve(
            RecipeReader.parse("{name: x, data: {train: x}, models: {student: x}}", "test"));
    for (FieldDescriptor field : Recipe.getDescriptor().getFields()) {
      // The baseline's training has the keys of the distillation's.
      if (!field.getName().equals("baseline")) {
        check(field, field.getName(), least, written);
      }
    }
  }

  private static void check(
      FieldDescriptor field, String path, Message owner, Map<String, String> written) {
    if (field.getJavaType() != FieldDescriptor.JavaType.MESSAGE) {
      assertThat(written).as("docs/recipes.md").containsKey(path);
      if (owner != null
          && !field.isRepeated()
          && !written.get(path).equals("required")
          && !owner.getField(field).equals("")) {
        assertThat(written.get(path)).as(path).isEqualTo(text(owner.getField(field)));
      }
      return;
    }
    Descriptor type = field.getMessageType();
    for (FieldDescriptor inner : type.getFields()) {
      String name = path + (field.isRepeated() ? "[]." : ".") + inner.getName();
      Message value = owner == null || field.isRepeated() ? null : (Message) owner.getField(field);
      check(inner, name, value, written);
    }
  }

  private static String text(Object value) {
    return value instanceof Double number
        ? BigDecimal.valueOf(number).stripTrailingZeros().toPlainString()
        : value.toString();
  }
}
