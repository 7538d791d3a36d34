package io.gracebeam.worker.engine.libtorch;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.types.DataType;
import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import io.gracebeam.worker.engine.checks.OperatorCases;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Values and gradients of every operator, against DJL's PyTorch engine and against torch. */
class OperatorsTest {
  /** Writes the results of all cases in float32 on the engine of a name; for child processes. */
  public static final class Results {
    public static void main(String[] args) throws IOException {
      Engine engine = Engine.getEngine(args[0]);
      try (DataOutputStream out = new DataOutputStream(Files.newOutputStream(Path.of(args[1])))) {
        for (OperatorCases.Case c : OperatorCases.all()) {
          for (var e : OperatorCases.run(engine, Device.cpu(), c, DataType.FLOAT32).entrySet()) {
            out.writeUTF(e.getKey());
            out.writeInt(e.getValue().length);
            for (float v : e.getValue()) {
              out.writeFloat(v);
            }
          }
        }
      }
    }
  }

  private final Engine engine = Engine.getEngine(LibTorchEngine.NAME);

  @Test
  void equalsDjlsPyTorchEngine(@TempDir Path folder) throws Exception {
    Path file = folder.resolve("pytorch");
    Children.run(
        List.of("-DPYTORCH_VERSION=2.7.1", "-DPYTORCH_FLAVOR=cpu", "-Dai.djl.offline=true"),
        Results.class.getName(),
        "PyTorch",
        file.toString());
    Map<String, float[]> expected = read(file);
    assertThat(expected.keySet()).hasSizeGreaterThan(100);
    // Torch says otherwise: DJL's mish is another function, and its duplicate cuts the graph.
    Map<String, float[]> torch = golden("float32");
    for (String name : List.of("mish", "mish/0", "duplicate/0")) {
      assertThat(expected.put(name, torch.get(name))).isNotNull();
    }
    compare(DataType.FLOAT32, expected, 1e-5, 1e-5);
  }

  @Test
  void equalsTorchInFloat32() {
    compare(DataType.FLOAT32, golden("float32"), 1e-5, 1e-5);
  }

  @Test
  void equalsTorchInBfloat16() {
    // Two roundings to 8 bits may differ by one unit in the last place.
    compare(DataType.BFLOAT16, golden("bfloat16"), 1.0 / 64, 1.0 / 128);
  }

  private void compare(
      DataType type, Map<String, float[]> expected, double absolute, double relative) {
    List<String> wrong = new ArrayList<>();
    Map<String, float[]> rest = new HashMap<>(expected);
    for (OperatorCases.Case c : OperatorCases.all()) {
      OperatorCases.run(engine, Device.cpu(), c, type)
          .forEach(
              (name, values) -> {
                float[] wanted = rest.remove(name);
                if (wanted == null || wanted.length != values.length) {
                  wrong.add(name + ": another size");
                  return;
                }
                for (int i = 0; i < values.length; i++) {
                  double bound = absolute + relative * Math.abs(wanted[i]);
                  if (!(Math.abs(values[i] - wanted[i]) <= bound)) {
                    wrong.add("%s[%d]: %s, expected %s".formatted(name, i, values[i], wanted[i]));
                    return;
                  }
                }
              });
    }
    assertThat(wrong).isEmpty();
    assertThat(rest).isEmpty();
  }

  private static Map<String, float[]> golden(String type) {
    var stream = OperatorsTest.class.getResourceAsStream("/golden/operators.json");
    Map<String, Map<String, float[]>> all =
        new Gson()
            .fromJson(
                new InputStreamReader(stream, StandardCharsets.UTF_8),
                new TypeToken<Map<String, Map<String, float[]>>>() {}.getType());
    return all.get(type);
  }

  private static Map<String, float[]> read(Path file) throws IOException {
    Map<String, float[]> out = new HashMap<>();
    try (DataInputStream in = new DataInputStream(Files.newInputStream(file))) {
      while (in.available() > 0) {
        String name = in.readUTF();
        float[] values = new float[in.readInt()];
        for (int i = 0; i < values.length; i++) {
          values[i] = in.readFloat();
        }
        out.put(name, values);
      }
    }
    return out;
  }
}
