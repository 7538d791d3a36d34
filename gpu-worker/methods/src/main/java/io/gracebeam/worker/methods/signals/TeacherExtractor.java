package io.gracebeam.worker.methods.signals;

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
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.model.Forward;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
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

  /** Extracts with a teacher and a dataset in folders, see the other {@code run}. */
  public static SortedMap<String, Double> run(
      EngineHandle engine,
      ExtractRequest request,
      Path teacher,
      Path dataset,
      Path outFile,
      Consumer<ExampleSignal> emit,
      Progress progress) {
    ModelFolder folder = ModelFolder.open(Files2.modelFolder(teacher));
    try (InputMaker inputs = folder.inputs();
        VisionLanguageModel model = folder.load(engine)) {
      return run(model, inputs, request, Dataset.open(dataset), outFile, emit, progress);
    }
  }

  /**
   * Extracts the request's examples with a loaded teacher. A bad example becomes an error entry and
   * the rest goes on.
   *
   * @param inputs of the teacher
   * @param outFile place of the unit file
   * @param emit receives one signal per example, in order
   * @return measures: bytesPerToken, bytesPerImage (measured on the file), tokens, images, errors
   * @throws GraceException user, for an unknown cache form, or a unit outside the dataset
   */
  public static SortedMap<String, Double> run(
      VisionLanguageModel model,
      InputMaker inputs,
      ExtractRequest request,
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
    SignalForm form = form(request.getCache(), request.getTemperature(), model.config().vocab());
    SignalWriter writer = new SignalWriter(form, model.config().imageTokens(), first);
    BatchMaker maker = new BatchMaker(dataset, inputs);
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
          good.isEmpty() ? List.of() : forward(model, maker, good, dataset, form);
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
    out.put("bytesPerToken", (double) form.bytesPerToken());
    out.put("bytesPerImage", writer.bytesPerImage());
    out.put("bytes", (double) written.bytes());
    out.put("tokens", (double) writer.tokens());
    out.put("images", (double) writer.images());
    out.put("errors", (double) errors);
    return out;
  }

  private record Teacher(Signals signals, ExampleSignal message) {}

  private static List<Teacher> forward(
      VisionLanguageModel model,
      BatchMaker maker,
      List<Integer> good,
      Dataset dataset,
      SignalForm form) {
    List<Item> items = good.stream().map(maker::item).toList();
    List<Teacher> out = new ArrayList<>();
    try (NDManager manager = model.manager().newSubManager();
        NDScope scope = new NDScope()) {
      scope.suppressNotUsedWarning();
      Forward f = model.forward(manager, BatchMaker.batch(items, model.config()));
      float[] logits = f.logits().toFloatArray();
      float[] states = f.visualStates() == null ? null : f.visualStates().toFloatArray();
      int d = model.config().text().width();
      int row = 0;
      int visual = 0;
      for (int i = 0; i < items.size(); i++) {
        Item item = items.get(i);
        List<float[]> grams = new ArrayList<>();
        for (int n : item.visualTokens()) {
          if (form.gram() != SignalForm.Gram.NONE) {
            float[] own = Arrays.copyOfRange(states, visual * d, (visual + n) * d);
            grams.add(Rcka.gram(own, n, d));
          }
          visual += n;
        }
        float[] own =
            Arrays.copyOfRange(
                logits, row * form.vocab(), (row + item.targets().length) * form.vocab());
        row += item.targets().length;
        out.add(example(item, own, grams, dataset.example(good.get(i)), form));
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
      Item item, float[] logits, List<float[]> grams, Dataset.Example example, SignalForm shape) {
    int t = item.targets().length;
    int vocab = shape.vocab();
    boolean topK = shape.rows() == SignalForm.Rows.TOP_K;
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
            new Signals.Statistics(scalars[0], scalars[1], scalars[2], scalars[3]),
            ids,
            values,
            item.visualTokens(),
            grams);
    return new Teacher(signals, message.build());
  }

  private static SignalForm form(TeacherCache cache, double temperature, int vocab) {
    SignalForm.Rows rows =
        switch (cache.getForm()) {
          case "", "full" -> SignalForm.Rows.FULL_F32;
          case "full-f16" -> SignalForm.Rows.FULL_F16;
          case "top-k" -> SignalForm.Rows.TOP_K;
          default ->
              throw GraceException.user(
                  "teacher_cache.form is '%s'; allowed are full, full-f16, top-k", cache.getForm());
        };
    SignalForm.Gram gram =
        switch (cache.getGram()) {
          case "", "bf16" -> SignalForm.Gram.BF16;
          case "f32" -> SignalForm.Gram.F32;
          case "none" -> SignalForm.Gram.NONE;
          default ->
              throw GraceException.user(
                  "teacher_cache.gram is '%s'; allowed are bf16, f32, none", cache.getGram());
        };
    int k = 0;
    if (rows == SignalForm.Rows.TOP_K) {
      k = Math.min(vocab, cache.getTopK());
      if (k < 1) {
        throw GraceException.user(
            "teacher_cache.top_k is %d; allowed are 1 to %d", cache.getTopK(), vocab);
      }
    }
    return new SignalForm(rows, vocab, k, (float) temperature, gram);
  }
}
