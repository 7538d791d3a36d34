package io.gracebeam.worker.methods.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CheckpointTest {
  @TempDir Path dir;

  private void raw(String header, int dataBytes) throws Exception {
    byte[] json = header.getBytes(StandardCharsets.UTF_8);
    ByteBuffer out =
        ByteBuffer.allocate(8 + json.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
    out.putLong(json.length).put(json);
    Files.write(dir.resolve("model.safetensors"), out.array());
  }

  private void refused(String part) {
    assertThatThrownBy(() -> Checkpoint.load(dir, TensorNaming.AS_IS))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
        .hasMessageContaining(part)
        .message()
        .doesNotContain("\n");
  }

  private static TreeMap<String, Tensor> two() {
    TreeMap<String, Tensor> out = new TreeMap<>();
    out.put("a", Tensor.of(new long[] {2}, new float[] {1, -2}));
    out.put("b", Tensor.of(new long[] {1, 2}, new float[] {3, 4}));
    return out;
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}|8|overlaps",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}|4|within the file",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}|8|unused bytes",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}|8|behind the last",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}|8|call for 12",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}|8|beyond"
            + " 2^63",
        "{\"a\":{\"dtype\":\"Q7\",\"shape\":[1],\"data_offsets\":[0,4]}}|4|element type",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}|4|integers from 0",
        "{\"a\":{},\"a\":{}}|0|not valid JSON",
        "{\"a\":|0|not valid JSON",
        "[1]|0|does not start"
      })
  void refusesBadHeaders(String header, int bytes, String part) throws Exception {
    raw(header.startsWith("{") ? header : " " + header, bytes);
    refused(part);
  }

  @Test
  void refusesHeaderSizesBeforeAllocating() throws Exception {
    for (long size : new long[] {-1, 0, 99_999_999, Long.MAX_VALUE}) {
      ByteBuffer out = ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN).putLong(0, size);
      Files.write(dir.resolve("model.safetensors"), out.array());
      refused("header claims");
    }
  }

  @Test
  void refusesNotANumber() {
    TreeMap<String, Tensor> tensors = two();
    tensors.put("a", Tensor.of(new long[] {2}, new float[] {1, Float.NaN}));
    CheckpointWriter.write(dir, tensors);
    refused("tensor a holds NaN at element 1");
    tensors.put("a", Tensor.of(new long[] {2}, new float[] {Float.POSITIVE_INFINITY, 0}));
    CheckpointWriter.write(dir, tensors);
    refused("Infinity");
  }

  @Test
  void shardsRoundTripAndMissingOnesAreNamed() throws Exception {
    CheckpointWriter.write(dir, two(), 8);
    assertThat(Checkpoint.load(dir, TensorNaming.AS_IS).tensors().get("b").floats())
        .containsExactly(3, 4);
    Files.delete(dir.resolve("model-00002-of-00002.safetensors"));
    refused("model-00002-of-00002.safetensors");
  }

  @Test
  void refusesPathsOutsideTheFolder() throws Exception {
    for (String name : new String[] {"../x.safetensors", "/etc/x", "..\\\\x", "%2e%2e/x"}) {
      Files.writeString(
          dir.resolve("model.safetensors.index.json"), "{\"weight_map\":{\"a\":\"" + name + "\"}}");
      refused("outside the model folder");
    }
    Path inner = Files.createDirectory(dir.resolve("inner"));
    Safetensors.write(dir.resolve("elsewhere.safetensors"), two());
    Files.createSymbolicLink(
        inner.resolve("model.safetensors"), dir.resolve("elsewhere.safetensors"));
    assertThatThrownBy(() -> Checkpoint.load(inner, TensorNaming.AS_IS))
        .hasMessageContaining("outside");
  }
}
