package io.gracebeam.templates;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.StringWriter;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The files that docs/extending.md and its page on families show compile, and the services that
 * they name are found.
 */
class ExtendingTest {
  private static final List<Path> DOCUMENTS =
      List.of(Path.of("..", "docs", "extending.md"), Path.of("..", "docs", "extending-family.md"));
  private static final Pattern FILE =
      Pattern.compile("(?ms)^`my-plugin/([^`]+)`:\\n\\n```\\w*\\n(.*?)^```$");
  private static final String SERVICES = "META-INF/services/";

  @TempDir Path folder;

  private static Map<String, String> files() throws IOException {
    Map<String, String> out = new LinkedHashMap<>();
    for (Path document : DOCUMENTS) {
      Matcher file = FILE.matcher(Files.readString(document));
      while (file.find()) {
        assertThat(out.put(file.group(1), file.group(2))).as(file.group(1)).isNull();
      }
    }
    return out;
  }

  private void compile(List<String> sources) {
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    String classPath =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    StringWriter messages = new StringWriter();
    boolean fine =
        compiler
            .getTask(
                messages,
                null,
                null,
                List.of("-proc:none", "-nowarn", "-cp", classPath, "-d", folder.toString()),
                null,
                compiler
                    .getStandardFileManager(null, null, null)
                    .getJavaFileObjectsFromStrings(sources))
            .call();
    assertThat(fine).as("%s", messages).isTrue();
  }

  @Test
  void theFilesCompileAndTheirServicesAreFound() throws Exception {
    Map<String, String> files = files();
    List<String> sources = new ArrayList<>();
    for (Map.Entry<String, String> file : files.entrySet()) {
      Path path = folder.resolve(file.getKey());
      Files.createDirectories(path.getParent());
      Files.writeString(path, file.getValue());
      if (file.getKey().endsWith(".java")) {
        sources.add(path.toString());
      }
    }
    compile(sources);
    List<String> services = new ArrayList<>();
    try (URLClassLoader loader =
        new URLClassLoader(
            new URL[] {folder.toUri().toURL()}, ExtendingTest.class.getClassLoader())) {
      for (Map.Entry<String, String> file : files.entrySet()) {
        if (file.getKey().startsWith(SERVICES)) {
          Class<?> service = Class.forName(file.getKey().substring(SERVICES.length()));
          services.add(service.getSimpleName());
          assertThat(found(service, loader)).contains(file.getValue().strip());
        }
      }
    }
    assertThat(services)
        .containsExactlyInAnyOrder(
            "ModelFamily",
            "Quantizer",
            "BenchmarkFormat",
            "StageRows",
            "StageWork",
            "BlobStoreProvider");
  }

  private static List<String> found(Class<?> service, ClassLoader loader) {
    return Stream.of(ServiceLoader.load(service, loader))
        .flatMap(ServiceLoader::stream)
        .map(provider -> provider.get().getClass().getName())
        .toList();
  }
}
