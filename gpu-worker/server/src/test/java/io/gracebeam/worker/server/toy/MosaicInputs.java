package io.gracebeam.worker.server.toy;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.worker.methods.image.RgbImage;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelImage;
import io.gracebeam.worker.methods.model.ModelInput;
import io.gracebeam.worker.methods.model.PixelCache;
import io.gracebeam.worker.methods.text.Tokenizer;
import io.gracebeam.worker.methods.text.Turn;
import io.gracebeam.worker.methods.text.WordTokenizerBuilder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** {@code ASK question TELL answer</s>}, images where the question names them. */
final class MosaicInputs implements InputMaker {
  static final String TEMPLATE = "ASK TELL";

  private static final List<String> SPECIAL = List.of("<s>", "</s>", "<unk>", "<pad>");

  private final MosaicConfig config;
  private final Tokenizer tokenizer;

  MosaicInputs(Path folder, MosaicConfig config) {
    this.config = config;
    this.tokenizer = Tokenizer.load(folder);
  }

  /** Whole tiles from the top left; a tile's numbers are one behind the other. */
  @Override
  public ModelImage image(Path file) {
    RgbImage image = RgbImage.read(file);
    int side = config.tile();
    int rows = image.height() / side;
    int columns = image.width() / side;
    if (rows == 0 || columns == 0) {
      throw GraceException.data("%s is smaller than a tile of %d", file.getFileName(), side);
    }
    float[] values = new float[rows * columns * config.tileSize()];
    int at = 0;
    for (int tile = 0; tile < rows * columns; tile++) {
      for (int p = 0; p < side * side; p++) {
        int y = tile / columns * side + p / side;
        int x = tile % columns * side + p % side;
        for (int c = 0; c < 3; c++) {
          values[at++] = (image.rgb()[(y * image.width() + x) * 3 + c] & 255) / 127.5f - 1;
        }
      }
    }
    return new ModelImage(
        PixelCache.of(values),
        new long[] {(long) rows * columns, config.tileSize()},
        new ModelImage.Grid(1, rows, columns),
        rows * columns);
  }

  @Override
  public ModelInput encode(List<Turn> turns, List<ModelImage> images, boolean withAnswers) {
    StringBuilder text = new StringBuilder();
    List<Tokenizer.Span> answers = new ArrayList<>();
    boolean named = turns.stream().anyMatch(t -> t.question().contains(PLACEHOLDER));
    for (int i = 0; i < turns.size(); i++) {
      text.append("ASK ").append(i == 0 && !named ? PLACEHOLDER.repeat(images.size()) : "");
      text.append(Tokenizer.withoutSpecial(turns.get(i).question(), SPECIAL)).append(" TELL ");
      if (withAnswers || i < turns.size() - 1) {
        int start = text.length();
        text.append(Tokenizer.withoutSpecial(turns.get(i).answer(), SPECIAL)).append("</s>");
        answers.add(new Tokenizer.Span(start, text.length()));
      }
    }
    Tokenizer.Encoded encoded = tokenizer.encode(text.toString(), answers);
    ModelInput plain =
        ModelInput.expanded(
            encoded.ids(), encoded.inSpans(), WordTokenizerBuilder.IMAGE_TOKEN, images);
    return withPositions(plain);
  }

  /** Text counts on all axes; a tile has its image's time, and a row and a column of its own. */
  private static ModelInput withPositions(ModelInput plain) {
    int length = plain.ids().length;
    int[][] axes = new int[3][length];
    int position = 0;
    int at = 0;
    for (ModelInput.Placed placed : plain.images()) {
      for (; at < placed.start(); at++, position++) {
        fill(axes, at, position, 0, 0);
      }
      ModelImage.Grid grid = placed.image().grid();
      for (int tile = 0; tile < placed.image().tokens(); tile++, at++) {
        fill(axes, at, position, tile / grid.columns(), tile % grid.columns());
      }
      position += Math.max(grid.rows(), grid.columns());
    }
    for (; at < length; at++, position++) {
      fill(axes, at, position, 0, 0);
    }
    return new ModelInput(plain.ids(), plain.labels(), plain.images(), axes, position);
  }

  private static void fill(int[][] axes, int at, int position, int row, int column) {
    axes[0][at] = position;
    axes[1][at] = position + row;
    axes[2][at] = position + column;
  }

  @Override
  public long[] ids(String text) {
    return tokenizer.ids(text);
  }

  @Override
  public String decode(int[] ids) {
    return tokenizer.decode(ids);
  }

  @Override
  public void close() {
    tokenizer.close();
  }
}
