package io.gracebeam.worker.methods.signals;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.NDScope;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ExampleSignal;
import io.gracebeam.proto.v1.ExtractRequest;
import io.gracebeam.proto.v1.TeacherCache;
import io.gracebeam.proto.v1.TokenSignal;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.kernels.Rcka;
import io.gracebeam.worker.kernels.TeacherStatistics;
import io.gracebeam.worker.kernels.TopK;
import io.gracebeam.worker.methods.data.BatchMaker;
import io.gracebeam.worker.methods.data.Dataset;
import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.model.Forward;
import io.gracebeam.worker.methods.model.LlavaModel;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Consumer;

/** Runs the frozen teacher over a unit of examples, without gradients, and writes its signals. */
public final class TeacherExtractor {
  private static final int BATCH = 8;

  private TeacherExtractor() {}

  /**
   * As {@link #run(LlavaModel, ExtractRequest, Path, Dataset, Path, Consumer, Progress)}, loading
   * teacher and dataset.
   */
  public static SortedMap<String, Double> run(
      EngineHandle engine,
      ExtractRequest request,
      Path teacher,
      Path dataset,
      Path outFile,
      Consumer<ExampleSignal> emit,
      Progress progress) {
    Path folder = Files2.modelFolder(teacher);
    try (LlavaModel model = LlavaModel.load(engine, folder)) {
      return run(model, request, folder, Dataset.open(dataset), outFile, emit, progress);
    }
  }

  /**
   * Extracts the request's examples with a loaded teacher. A bad example becomes an error entry and
   * the rest goes on.
   *
   * @param modelFolder where the teacher's tokenizer and processor files are
   * @param outFile place of the unit file
   * @param emit receives one signal per example, in order
   * @return measures: bytesPerToken, bytesPerImage (measured on the file), tokens, images, errors
   * @throws GraceException user, for an unknown cache form, or a unit outside the dataset
   */
  public static SortedMap<String, Double> run(
      LlavaModel model,
      ExtractRequest request,
      Path modelFolder,
      Dataset dataset,
      Path outFile,
      Consumer<ExampleSignal> emit,
      Progress progress) {
    long first = request.getFirst();
    int count = request.getCount();
    if (first < 0 || count < 1 || first + count > dataset.size()) {
      throw GraceException.user(
          "unit %d to %d is outside the dataset of %d examples",
          first, first + count, dataset.size());
    }
    SignalHeader shape = shape(request.getCache(), request.getTemperature(), model, first);
    SignalWriter writer = new SignalWriter(shape);
    BatchMaker maker = new BatchMaker(dataset, modelFolder, model.config());
    int errors = 0;
    for (int at = 0; at < count; at += BATCH) {
      if (progress.canceled()) {
        throw GraceException.worker("extraction was canceled at example %d", first + at);
      }
      List<Integer> good = new ArrayList<>();
      int end = Math.min(count, at + BATCH);
      for (int i = at; i < end; i++) {
        if (maker.usable((int) first + i)) {
          good.add((int) first + i);
        }
      }
      List<Teacher> answers =
          good.isEmpty() ? List.of() : forward(model, maker, good, dataset, shape);
      int next = 0;
      for (int i = (int) first + at; i < first + end; i++) {
        String error = maker.bad().get(i);
        if (error != null) {
          writer.add(Signals.bad(error));
          emit.accept(
              ExampleSignal.newBuilder().setId(dataset.example(i).id()).setError(error).build());
          errors++;
        } else {
          Teacher t = answers.get(next++);
          writer.add(t.signals());
          emit.accept(t.message());
        }
      }
      progress.report((double) (end) / count, "teacher signals: %d of %d".formatted(end, count));
    }
    SignalHeader written = writer.write(outFile);
    SortedMap<String, Double> out = new TreeMap<>();
    out.put("bytesPerToken", (double) written.bytesPerToken());
    out.put("bytesPerImage", (double) written.bytesPerImage());
    out.put("bytes", (double) written.bytes());
    out.put("tokens", (double) writer.tokens());
    out.put("images", (double) writer.images());
    out.put("errors", (double) errors);
    return out;
  }

  private record Teacher(Signals signals, ExampleSignal message) {}

  private static List<Teacher> forward(
      LlavaModel model, BatchMaker maker, List<Integer> good, Dataset dataset, SignalHeader shape) {
    List<Item> items = good.stream().map(maker::item).toList();
    int[][] rows = items.stream().map(Item::rows).toArray(int[][]::new);
    List<Teacher> out = new ArrayList<>();
    try (NDManager manager = model.manager().newSubManager();
        NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      NDArray pixels = maker.pixels(manager, good.stream().mapToInt(Integer::intValue).toArray());
      Forward f = model.forward(pixels, maker.ids(items), rows);
      float[] logits = f.logits().toFloatArray();
      float[] states = f.visualStates().toFloatArray();
      int n = (int) f.visualStates().getShape().get(1);
      int d = (int) f.visualStates().getShape().get(2);
      int row = 0;
      for (int i = 0; i < items.size(); i++) {
        Item item = items.get(i);
        float[] gram =
            shape.gram() == SignalHeader.Gram.NONE
                ? null
                : Rcka.gram(Arrays.copyOfRange(states, i * n * d, (i + 1) * n * d), n, d);
        float[] own =
            Arrays.copyOfRange(
                logits, row * shape.vocab(), (row + item.targets().length) * shape.vocab());
        row += item.targets().length;
        out.add(example(item, own, gram, dataset.example(good.get(i)), shape));
      }
    } catch (IllegalArgumentException e) {
      throw GraceException.data(
              "teacher signals of examples %s: %s",
              items.stream().map(Item::id).toList(), e.getMessage())
          .withCause(e);
    }
    return out;
  }

  private static Teacher example(
      Item item, float[] logits, float[] gram, Dataset.Example example, SignalHeader shape) {
    int t = item.targets().length;
    int vocab = shape.vocab();
    boolean topK = shape.form() == SignalHeader.Form.TOP_K;
    float[][] scalars = new float[4][t];
    TopK.Selection top = topK ? TopK.selectRows(logits, t, vocab, shape.k()) : null;
    int[] ids = topK ? top.ids() : null;
    float[] values = topK ? top.values() : logits;
    ExampleSignal.Builder message = ExampleSignal.newBuilder().setId(item.id());
    TeacherStatistics[] all =
        TeacherStatistics.ofRows(logits, t, vocab, item.targets(), shape.temperature());
    for (int i = 0; i < t; i++) {
      TeacherStatistics s = all[i];
      scalars[0][i] = (float) s.targetLogProb();
      scalars[1][i] = (float) s.logSumExp();
      scalars[2][i] = (float) s.entropy();
      scalars[3][i] = (float) s.nonTargetLogSumExp();
      int answer = item.answers()[i];
      message.addTokens(
          TokenSignal.newBuilder()
              .setEntropy((float) s.entropy())
              .setTargetLogProb((float) s.targetLogProb())
              .setCorrect(s.argmax() == item.targets()[i])
              .setTopProbability((float) s.topProbability())
              .setType(answer < example.types().size() ? example.types().get(answer) : ""));
    }
    Signals signals =
        new Signals(
            null,
            item.targets(),
            scalars[0],
            scalars[1],
            scalars[2],
            scalars[3],
            ids,
            values,
            gram);
    return new Teacher(signals, message.build());
  }

  private static SignalHeader shape(
      TeacherCache cache, double temperature, LlavaModel model, long first) {
    SignalHeader.Form form =
        switch (cache.getForm()) {
          case "", "full" -> SignalHeader.Form.FULL_F32;
          case "full-f16" -> SignalHeader.Form.FULL_F16;
          case "top-k" -> SignalHeader.Form.TOP_K;
          default ->
              throw GraceException.user(
                  "teacher_cache.form is '%s'; allowed are full, full-f16, top-k", cache.getForm());
        };
    SignalHeader.Gram gram =
        switch (cache.getGram()) {
          case "", "bf16" -> SignalHeader.Gram.BF16;
          case "f32" -> SignalHeader.Gram.F32;
          case "none" -> SignalHeader.Gram.NONE;
          default ->
              throw GraceException.user(
                  "teacher_cache.gram is '%s'; allowed are bf16, f32, none", cache.getGram());
        };
    int vocab = model.config().vocab();
    int k = 0;
    if (form == SignalHeader.Form.TOP_K) {
      k = Math.min(vocab, cache.getTopK());
      if (k < 1) {
        throw GraceException.user(
            "teacher_cache.top_k is %d; allowed are 1 to %d", cache.getTopK(), vocab);
      }
    }
    return new SignalHeader(
        form, vocab, k, (float) temperature, gram, model.config().imageTokens(), first, 0, 0);
  }
}
