package io.gracebeam.pipelines.cli;

import com.fasterxml.jackson.databind.JsonNode;
import io.gracebeam.pipelines.report.ReportFiles;
import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.artifact.Artifacts;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Manifest;
import java.net.URI;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code grace verify}: hashes every artifact of a run again. */
@Command(
    name = "verify",
    description = "Hashes every artifact of a run again and compares with its manifest.",
    mixinStandardHelpOptions = true)
final class VerifyCommand implements Callable<Integer> {
  @Parameters(paramLabel = "RUN", description = "Run folder.")
  Path run;

  @Option(
      names = "--store",
      paramLabel = "DIR|URI",
      description = "Its artifact store, where the run was given one.")
  Optional<String> store = Optional.empty();

  @Spec CommandSpec spec;

  @Override
  public Integer call() {
    JsonNode report = ReportFiles.read(run);
    URI place =
        store
            .map(text -> Artifacts.uriOrPath("--store", text))
            .orElse(Artifacts.uri(run.resolve("store")));
    ArtifactStore artifacts = ArtifactStore.open(place);
    int count = 0;
    for (JsonNode artifact : report.path("artifacts")) {
      String name = artifact.path("name").asText();
      String key = artifact.path("stageKey").asText();
      Manifest manifest =
          artifacts
              .find(key)
              .orElseThrow(
                  () -> GraceException.data("%s: %s is not in the store any more", run, name));
      if (!manifest.getArtifact().getSha256().equals(artifact.path("sha256").asText())) {
        throw GraceException.data(
            "%s: the report says %s for %s, the store %s",
            run, artifact.path("sha256").asText(), name, manifest.getArtifact().getSha256());
      }
      artifacts.verify(manifest);
      count++;
    }
    spec.commandLine().getOut().println(count + " artifacts are as their manifests say");
    spec.commandLine().getOut().flush();
    return 0;
  }
}
