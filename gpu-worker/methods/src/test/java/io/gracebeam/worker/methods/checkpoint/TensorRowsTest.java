package io.gracebeam.worker.methods.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.TreeMap;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Rows that stay in their file are those of the checkpoint; files that lie are refused. */
class TensorRowsTest {
  private static final String TABLE = "language_model.model.embed_tokens.weight";

  @TempDir Path dir;

  /** A tensor of finite numbers of any type. */
  private static Tensor random(DType type, int rows, int cols) {
    Random random = new Random(rows * 31L + cols);
    ByteBuffer data =
        ByteBuffer.allocate(rows * cols * type.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    while (data.hasRemaining()) {
      float value = (float) random.nextGaussian();
      switch (type) {
        case F64 -> data.putDouble(random.nextGaussian());
        case F32 -> data.putFloat(value);
        case F16 -> data.putShort(Float.floatToFloat16(value));
        case BF16 -> data.putShort((short) (Float.floatToRawIntBits(value) >>> 16));
        case I32 -> data.putInt(random.nextInt());
        default -> throw new IllegalArgumentException(type.name());
      }
    }
    return new Tensor(new long[] {rows, cols}, type, data.rewind());
  }

  private void write(Tensor table, int shard) {
    TreeMap<String, Tensor> tensors = new TreeMap<>();
    tensors.put("language_model.model.before", Tensor.of(new long[] {3}, new float[] {1, 2, 3}));
    tensors.put(TABLE, table);
    tensors.put("language_model.model.norm.weight", Tensor.of(new long[] {1}, new float[] {9}));
    CheckpointWriter.write(dir, tensors, shard);
  }

  private static void refused(Category category, String text, ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            GraceException.class, e -> assertThat(e.category()).isEqualTo(category))
        .hasMessageContaining(text);
  }

  @ParameterizedTest
  @CsvSource({
    "F32, 1, 1",
    "F32, 7, 33",
    "BF16, 1, 9",
    "BF16, 50, 64",
    "F16, 13, 5",
    "F64, 4, 3",
    "BF16, 5, 4100"
  })
  void rowsAreThoseOfTheCheckpoint(DType type, int rows, int cols) {
    write(random(type, rows, cols), 64);
    Checkpoint checkpoint = Checkpoint.open(dir, TensorNaming.AS_IS);
    float[] all = Checkpoint.load(dir, TensorNaming.AS_IS).tensors().get(TABLE).floats();
    assertThat(checkpoint.tensor(TABLE).floats()).containsExactly(all);
    try (TensorRows table = checkpoint.rows(TABLE)) {
      assertThat(table.rows()).isEqualTo(rows);
      assertThat(table.cols()).isEqualTo(cols);
      float[] out = new float[cols + 3];
      for (int i = 0; i < 3 * rows; i++) {
        int row = i * 7 % rows;
        Arrays.fill(out, -1);
        table.row(row, out, 2);
        assertThat(Arrays.copyOfRange(out, 2, 2 + cols))
            .containsExactly(Arrays.copyOfRange(all, row * cols, (row + 1) * cols));
        assertThat(new float[] {out[0], out[1], out[cols + 2]}).containsExactly(-1, -1, -1);
      }
      assertThat(table.all().floats()).containsExactly(all);
      refused(Category.BUG, "allowed: 0 to", () -> table.row(rows, out, 0));
      refused(Category.BUG, "row -1", () -> table.row(-1, out, 0));
    }
  }

  /** The header promises more than the file has: refused before a row is read. */
  @Test
  void aFileShorterThanItsHeaderSaysIsRefused() throws IOException {
    write(random(DType.BF16, 40, 16), Integer.MAX_VALUE);
    Path file = dir.resolve("model.safetensors");
    TensorInfo info = Safetensors.read(file).get(TABLE);
    try (TensorRows open = TensorRows.open(file, TABLE)) {
      cut(file, info.end() - 1);
      refused(Category.DATA, "within the file", () -> Checkpoint.open(dir, TensorNaming.AS_IS));
      refused(Category.DATA, "within the file", () -> TensorRows.open(file, TABLE));
      refused(Category.DATA, "truncated in tensor " + TABLE, () -> TensorRows.open(file, info));
      // What was opened before gives the rows that are left.
      float[] row = new float[16];
      open.row(38, row, 0);
      refused(Category.DATA, "truncated in tensor " + TABLE, () -> open.row(39, row, 0));
    }
  }

  private static void cut(Path file, long bytes) throws IOException {
    try (RandomAccessFile f = new RandomAccessFile(file.toFile(), "rw")) {
      f.setLength(bytes);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16", "F16", "F64"})
  void numbersThatAreNotFiniteAreRefusedWhenTheTableIsOpened(DType type) {
    Tensor table = random(type, 6, 5);
    ByteBuffer data = table.data();
    for (int i = 0; i < type.bytes(); i++) {
      data.put(13 * type.bytes() + i, (byte) 0x7f);
    }
    data.put(14 * type.bytes() - 1, (byte) 0x7f);
    data.put(14 * type.bytes() - 2, (byte) (type == DType.F16 ? 0x7c : 0xff));
    write(table, Integer.MAX_VALUE);
    Checkpoint checkpoint = Checkpoint.open(dir, TensorNaming.AS_IS);
    refused(Category.DATA, "at element 13; allowed: finite", () -> checkpoint.rows(TABLE));
    refused(Category.DATA, "at element 13; allowed: finite", () -> checkpoint.tensor(TABLE));
  }

  @Test
  void whatIsNoMatrixOfNumbersIsRefused() {
    write(random(DType.I32, 3, 4), Integer.MAX_VALUE);
    Checkpoint checkpoint = Checkpoint.open(dir, TensorNaming.AS_IS);
    for (String name : new String[] {TABLE, "language_model.model.norm.weight", "none"}) {
      refused(Category.DATA, "no matrix of numbers named " + name, () -> checkpoint.rows(name));
      refused(
          Category.DATA,
          "no matrix of numbers named " + name,
          () -> TensorRows.open(dir.resolve("model.safetensors"), name));
    }
  }

  /** A request that was called off leaves the table usable; so does a folder that was deleted. */
  @Test
  void neitherInterruptsNorDeletionCloseTheFile() throws IOException {
    Tensor table = random(DType.F32, 3, 4);
    write(table, Integer.MAX_VALUE);
    try (TensorRows rows = Checkpoint.open(dir, TensorNaming.AS_IS).rows(TABLE)) {
      float[] row = new float[4];
      Thread.currentThread().interrupt();
      rows.row(1, row, 0);
      assertThat(Thread.interrupted()).isTrue();
      Files.delete(dir.resolve("model.safetensors"));
      rows.row(2, row, 0);
      assertThat(row).containsExactly(Arrays.copyOfRange(table.floats(), 8, 12));
    }
  }
}
