package io.gracebeam.worker.methods.training;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.PrepareWork;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.data.BatchMaker;
import io.gracebeam.worker.methods.data.Dataset;
import io.gracebeam.worker.methods.data.Hash;
import io.gracebeam.worker.methods.family.Families;
import io.gracebeam.worker.methods.family.ModelFamily;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.ModelConfig;
import io.gracebeam.worker.methods.model.ModelParameter;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Makes a starting model from nothing but a dataset: tokenizer, random weights, vision tower,
 * instruction training.
 */
public final class Prepare {
  private Prepare() {}

  /**
   * Runs the work; {@code outDir} becomes a Hugging Face folder with a {@code curves.json} beside
   * the weights.
   *
   * @return measures: final losses, number of parameters, examples left out
   */
  public static SortedMap<String, Double> run(
      EngineHandle engine,
      PrepareWork work,
      Path dataset,
      long seed,
      Path outDir,
      Progress progress) {
    Dataset data = Dataset.open(dataset);
    Files2.folder(outDir);
    List<String> texts = new ArrayList<>();
    for (Dataset.Example e : data.examples()) {
      for (Dataset.Exchange x : e.exchanges()) {
        texts.add(x.question());
        texts.add(x.answer());
      }
    }
    ModelFamily family = Families.find().starting(work.getShape().getFamily());
    ModelConfig config = family.start(work.getShape(), texts, outDir);
    Curves curves = new Curves();
    try (InputMaker inputs = family.inputs(outDir, config);
        VisionLanguageModel model =
            VisionLanguageModel.createForTraining(engine, config, initial(config, seed))) {
      BatchMaker maker = new BatchMaker(data, inputs);
      if (work.getTower().getSteps() > 0) {
        TowerTrainer.run(
            engine,
            model,
            data,
            maker,
            work.getTower(),
            seed,
            curves,
            part(progress, 0, share(work)));
      }
      instruct(
          engine,
          model,
          data,
          maker,
          work.getInstruction(),
          seed,
          curves,
          part(progress, share(work), 1));
      StudentTrainer.writeModel(model, outDir, outDir);
      curves.write(outDir);
      SortedMap<String, Double> out = new TreeMap<>();
      out.put("final.ce", curves.last("ce"));
      out.put(
          "parameters",
          (double) model.parameters().values().stream().mapToLong(a -> a.size()).sum());
      out.put("badExamples", (double) maker.bad().size());
      out.put("vocabulary", (double) config.vocab());
      out.values().removeIf(v -> v.isNaN());
      return out;
    }
  }

  private static void instruct(
      EngineHandle engine,
      VisionLanguageModel model,
      Dataset data,
      BatchMaker maker,
      Training t,
      long seed,
      Curves curves,
      Progress progress) {
    Parameters parameters =
        new Parameters(StudentTrainer.trainable(model, t.getTrainVision()), model.masters());
    Losses losses = new Losses(Variant.getDefaultInstance(), Grace.getDefaultInstance(), null);
    Stepper stepper = new Stepper(engine, model, maker, losses, null, parameters);
    int[] all = data.shard(0, 1);
    long order = Hash.key(seed, "order");
    for (int step = 0; step < t.getSteps(); step++) {
      if (progress.canceled()) {
        throw GraceException.worker("instruction training was canceled at step %d", step);
      }
      double rate = Schedule.rate(t, step, t.getSteps());
      Losses.Total loss =
          stepper.step(
              Dataset.batch(all, t.getBatchExamples(), order, step),
              t,
              rate,
              step + 1,
              new Stepper.Weights(0, 0, "step " + (step + 1)));
      Map<String, Double> row = new TreeMap<>();
      row.put("step", step + 1.0);
      row.put("ce", loss.ce);
      row.put("total", loss.ce);
      row.put("lr", rate);
      curves.add(row);
      progress.report(
          (step + 1.0) / t.getSteps(),
          "instruction training: step %d of %d, loss %.3f"
              .formatted(step + 1, t.getSteps(), loss.ce));
    }
  }

  /**
   * The values that a model starts from, see {@link ModelParameter.Start}. Each depends on seed,
   * name and index only.
   */
  public static Map<String, float[]> initial(ModelConfig config, long seed) {
    Map<String, float[]> out = new HashMap<>();
    for (ModelParameter parameter : config.parameters().all()) {
      ModelParameter.Start start = parameter.start();
      float[] v = new float[Math.toIntExact(parameter.size())];
      Arrays.fill(v, start.constant());
      if (start.deviation() != 0) {
        long key = Hash.key(seed, parameter.name());
        for (int i = 0; i < v.length; i++) {
          v[i] = (float) (start.deviation() * Hash.gaussian(key, i));
        }
      }
      out.put(parameter.name(), v);
    }
    return out;
  }

  private static double share(PrepareWork work) {
    double tower = (double) work.getTower().getSteps() * work.getTower().getBatchExamples();
    double rest = 2.0 * work.getInstruction().getSteps() * work.getInstruction().getBatchExamples();
    return tower + rest == 0 ? 0 : tower / (tower + rest);
  }

  private static Progress part(Progress p, double from, double to) {
    return new Progress() {
      @Override
      public void report(double fraction, String what) {
        p.report(from + (to - from) * fraction, what);
      }

      @Override
      public boolean canceled() {
        return p.canceled();
      }
    };
  }
}
