package io.gracebeam.proto.artifact;

import com.google.protobuf.CodedOutputStream;
import com.google.protobuf.Message;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.TreeMap;

/** What identifies the result of a stage before it is computed. */
public final class StageKeys {
  private StageKeys() {}

  /**
   * SHA-256 over the stage and its version, the part of the recipe that it reads, the role and
   * digest of each input (never its place), the engine digest and the seed; every field carries its
   * length, so no two different requests share their bytes.
   *
   * @param version raised whenever the stage's code changes its result
   * @param recipePart only what the stage reads, resolved
   * @param inputs by role; a missing digest is refused
   * @param engineDigest empty for stages without numerical work
   * @return 64 lower-case hexadecimal characters
   * @throws GraceException (bug) where an input has no digest
   */
  public static String key(
      String stage,
      int version,
      Message recipePart,
      Map<String, ArtifactRef> inputs,
      String engineDigest,
      long seed) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try {
      CodedOutputStream out = CodedOutputStream.newInstance(bytes);
      out.useDeterministicSerialization();
      out.writeStringNoTag(stage);
      out.writeFixed32NoTag(version);
      out.writeStringNoTag(recipePart.getDescriptorForType().getFullName());
      out.writeByteArrayNoTag(deterministic(recipePart));
      out.writeFixed32NoTag(inputs.size());
      for (Map.Entry<String, ArtifactRef> input : new TreeMap<>(inputs).entrySet()) {
        String sha256 = input.getValue().getSha256();
        if (!sha256.matches("[0-9a-f]{64}")) {
          throw GraceException.bug(
              "stage %s: input %s has the digest '%s'; allowed: 64 hexadecimal characters",
              stage, input.getKey(), sha256);
        }
        out.writeStringNoTag(input.getKey());
        out.writeStringNoTag(sha256);
      }
      out.writeStringNoTag(engineDigest);
      out.writeFixed64NoTag(seed);
      out.flush();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return Digests.sha256(bytes.toByteArray());
  }

  private static byte[] deterministic(Message message) throws IOException {
    byte[] bytes = new byte[message.getSerializedSize()];
    CodedOutputStream out = CodedOutputStream.newInstance(bytes);
    out.useDeterministicSerialization();
    message.writeTo(out);
    out.checkNoSpaceLeft();
    return bytes;
  }
}
