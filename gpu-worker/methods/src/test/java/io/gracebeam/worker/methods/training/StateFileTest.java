package io.gracebeam.worker.methods.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.checkpoint.Safetensors;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.SortedMap;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class StateFileTest {
  @TempDir Path folder;

  private static SortedMap<String, float[]> state() {
    SortedMap<String, float[]> out = new TreeMap<>();
    out.put("m.layer", new float[] {1.5f, -0f, Float.MIN_VALUE});
    out.put("theta.layer", new float[] {-3});
    out.put("empty", new float[0]);
    return out;
  }

  private static void refused(Path file, String... message) {
    assertThatThrownBy(() -> StateFile.read(file))
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(Category.DATA))
        .hasMessageContainingAll(message);
  }

  @Test
  void whatWasWrittenIsReadAndHasOneForm() throws IOException {
    Path file = folder.resolve(StateFile.FILE);
    StateFile.write(file, state());
    SortedMap<String, float[]> back = StateFile.read(file);
    assertThat(back).containsOnlyKeys(state().keySet());
    state().forEach((name, values) -> assertThat(back.get(name)).as(name).isEqualTo(values));
    Path again = folder.resolve("again.safetensors");
    StateFile.write(again, back);
    assertThat(again).hasSameBinaryContentAs(file);
  }

  @Test
  void damagedFilesAreRefused() throws IOException {
    Path file = folder.resolve(StateFile.FILE);
    refused(file, "state.safetensors is missing");
    StateFile.write(file, state());
    byte[] all = Files.readAllBytes(file);
    Files.write(file, Arrays.copyOf(all, all.length - 1));
    refused(file, "state.safetensors", "theta.layer");
    Files.write(file, Arrays.copyOf(all, 7));
    refused(file, "state.safetensors is no safetensors file");
    SortedMap<String, Tensor> integers = new TreeMap<>();
    integers.put("theta.layer", Tensor.of(new long[] {1}, new int[] {1}));
    Safetensors.write(file, integers);
    refused(file, "theta.layer has element type I32; allowed: F32");
  }
}
