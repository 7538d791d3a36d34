package io.gracebeam.proto.worker;

import com.google.protobuf.Descriptors.FileDescriptor;
import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.HandshakeRequest;
import io.gracebeam.proto.v1.Recipe;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Properties;

/** The build that client and worker compare in their handshake. */
public final class Builds {
  private static final String CURRENT = version() + "+" + contractDigest().substring(0, 12);

  private Builds() {}

  /** Project version and digest of the wire contracts, for instance {@code 0.1.0+3f29c0de1a77}. */
  public static String current() {
    return CURRENT;
  }

  /**
   * Refuses a peer of another build.
   *
   * @throws GraceException (worker) naming both builds
   */
  public static void requireSame(String who, String build) {
    if (!CURRENT.equals(build)) {
      throw GraceException.worker(
          "%s: is of build '%s'; allowed: '%s', the build of this process",
          who, build.isEmpty() ? "(none)" : build, CURRENT);
    }
  }

  /** Version of the project, without the digest. */
  public static String version() {
    try (InputStream in = Builds.class.getResourceAsStream("build.properties")) {
      Properties properties = new Properties();
      if (in != null) {
        properties.load(in);
      }
      String version = properties.getProperty("version", "");
      if (version.isEmpty() || version.startsWith("$")) {
        throw GraceException.bug(
            "build.properties: has no version; allowed: the project's version");
      }
      return version;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String contractDigest() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    List<FileDescriptor> files =
        List.of(
            ArtifactRef.getDescriptor().getFile(),
            Recipe.getDescriptor().getFile(),
            HandshakeRequest.getDescriptor().getFile());
    for (FileDescriptor file : files) {
      byte[] content = file.toProto().toByteArray();
      bytes.writeBytes(content);
    }
    return Digests.sha256(bytes.toByteArray());
  }
}
