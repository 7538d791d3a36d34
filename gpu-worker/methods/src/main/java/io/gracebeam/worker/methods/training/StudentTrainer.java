package io.gracebeam.worker.methods.training;

import ai.djl.ndarray.NDArray;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Controller;
import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;
import io.gracebeam.worker.engine.EngineHandle;
import io.gracebeam.worker.methods.checkpoint.CheckpointWriter;
import io.gracebeam.worker.methods.checkpoint.Tensor;
import io.gracebeam.worker.methods.data.BatchMaker;
import io.gracebeam.worker.methods.data.Dataset;
import io.gracebeam.worker.methods.data.Hash;
import io.gracebeam.worker.methods.family.ModelFolder;
import io.gracebeam.worker.methods.model.InputMaker;
import io.gracebeam.worker.methods.model.Part;
import io.gracebeam.worker.methods.model.VisionLanguageModel;
import io.gracebeam.worker.methods.signals.SignalReader;
import io.gracebeam.worker.methods.work.Files2;
import io.gracebeam.worker.methods.work.Progress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Trains one logical shard for one round: cross-entropy alone, or with distillation from a teacher
 * cache, each with or without quantization. Writes {@code model/} (latent weights), {@code
 * state.safetensors} and {@code curves.json}.
 */
public final class StudentTrainer {
  private static final String CONTROLLER = "controller";
  private static final String STEP = "step";

  private StudentTrainer() {}

  /**
   * Runs the work.
   *
   * <p>Inputs by role: {@code student} (model or trained folder), {@code dataset}, with a
   * distilling variant {@code signals}, and from round 1 on {@code state} (a trained folder or its
   * state file; the student itself serves if it has one).
   *
   * @param seed decides the order of the examples
   * @return measures: final losses, steps, examples left out
   * @throws GraceException user, if variant, signals and student do not fit each other; data, if a
   *     loss is not finite
   */
  public static SortedMap<String, Double> run(
      EngineHandle engine,
      TrainWork work,
      Map<String, Path> inputs,
      long seed,
      Path outDir,
      Progress progress) {
    Path student = Files2.input(inputs, "student");
    ModelFolder folder = ModelFolder.open(Files2.modelFolder(student));
    Dataset dataset = Dataset.open(Files2.input(inputs, "dataset"));
    Variant variant = work.getVariant();
    boolean teacher =
        variant.getRcka()
            || !(variant.getDistillation().isEmpty() || variant.getDistillation().equals("none"));
    SignalReader signals = teacher ? SignalReader.open(Files2.input(inputs, "signals")) : null;
    int[] shard = dataset.shard(work.getShard(), Math.max(1, work.getShards()));
    int rounds = Math.max(1, work.getRounds());
    Training training = work.getTraining();
    long total = training.getSteps();
    long from = total * work.getRound() / rounds;
    long to = total * (work.getRound() + 1L) / rounds;

    try (InputMaker inputMaker = folder.inputs();
        VisionLanguageModel model = folder.loadForTraining(engine)) {
      if (signals != null) {
        check(signals, model, work.getGrace());
      }
      Parameters parameters =
          new Parameters(trainable(model, training.getTrainVision()), model.masters());
      if (variant.getQuantized()) {
        parameters.quantize(
            model.quantizableWeights(),
            variant.getBits(),
            variant.getGroupSize(),
            variant.getPerTensor());
      }
      IbController controller = controller(variant, work.getGrace().getController());
      if (work.getRound() > 0) {
        restore(parameters, controller, stateFile(inputs, student));
      }
      Losses losses = new Losses(variant, work.getGrace(), signals == null ? null : signals.form());
      Curves curves = new Curves();
      BatchMaker maker = new BatchMaker(dataset, inputMaker);
      Stepper stepper = new Stepper(engine, model, maker, losses, signals, parameters);
      long order = Hash.key(seed, "order");
      for (long step = from; step < to; step++) {
        if (progress.canceled()) {
          throw GraceException.worker("training was canceled at step %d", step);
        }
        int[] batch = Dataset.batch(shard, training.getBatchExamples(), order, step);
        double rate = Schedule.rate(training, step, total);
        Stepper.Weights weights =
            new Stepper.Weights(
                controller.beta(), omega(work.getGrace(), step), "step " + (step + 1));
        Losses.Total loss = stepper.step(batch, training, rate, (int) (step + 1), weights);
        if (losses.distils()) {
          controller.update(loss.gdkd);
        }
        curves.add(row(step + 1, loss, weights, losses, controller, rate));
        progress.report(
            (double) (step + 1 - from) / (to - from),
            "training: step %d of %d, loss %.3f".formatted(step + 1, total, loss.ce));
      }
      write(model, parameters, controller, to, folder.path(), outDir);
      curves.write(outDir);
      return measures(curves, maker, to - from);
    }
  }

  /**
   * Parameters that training may change: all, or all but the vision tower; never those that no pass
   * touches.
   */
  static Map<String, NDArray> trainable(VisionLanguageModel model, boolean vision) {
    Map<String, NDArray> out = new java.util.LinkedHashMap<>(model.parameters());
    // Engine-owned aligned memory, so that products round the same in every run.
    out.values()
        .forEach(
            a -> {
              try (NDArray values = a.stopGradient()) {
                a.intern(values.duplicate());
              }
            });
    out.keySet().removeAll(model.unusedParameters());
    if (!vision) {
      out.keySet().removeIf(n -> model.layout().get(n).place().part() == Part.VISION);
    }
    return out;
  }

  private static double omega(Grace g, long step) {
    double warm =
        g.getRckaWarmupSteps() == 0 ? 1 : Math.min(1.0, (step + 1.0) / g.getRckaWarmupSteps());
    return g.getOmega() * warm;
  }

  private static IbController controller(Variant v, Controller c) {
    return v.getAdaptiveBeta()
        ? new IbController(
            c.getTau(),
            c.getEta(),
            c.getBetaInit(),
            c.getBetaMin(),
            c.getBetaMax(),
            c.getEmaDecay())
        : IbController.fixed(v.getFixedBeta());
  }

  private static void check(SignalReader signals, VisionLanguageModel model, Grace grace) {
    if (signals.form().vocab() != model.config().vocab()) {
      throw GraceException.user(
          "teacher and student have different vocabularies: %d and %d tokens; allowed is the same",
          signals.form().vocab(), model.config().vocab());
    }
    if (Math.abs(signals.form().temperature() - grace.getTemperature()) > 1e-6) {
      throw GraceException.user(
          "grace.temperature is %s; the teacher signals are for %s",
          grace.getTemperature(), signals.form().temperature());
    }
  }

  private static Path stateFile(Map<String, Path> inputs, Path student) {
    Path p = inputs.getOrDefault("state", student);
    return Files.isDirectory(p) ? p.resolve(StateFile.FILE) : p;
  }

  private static void restore(Parameters parameters, IbController controller, Path file) {
    SortedMap<String, float[]> state = StateFile.read(file);
    parameters.restore(state);
    float[] c = state.get(CONTROLLER);
    if (c == null || c.length != 7) {
      throw GraceException.data("%s: the controller's state is missing", file.getFileName());
    }
    controller.state(new IbController.State(doubleOf(c, 0), doubleOf(c, 3), c[6] != 0));
  }

  private static double doubleOf(float[] c, int at) {
    return ((double) c[at] + c[at + 1]) + c[at + 2];
  }

  private static Map<String, Double> row(
      long step, Losses.Total t, Stepper.Weights w, Losses losses, IbController c, double rate) {
    Map<String, Double> out = new TreeMap<>();
    double total = t.ce;
    out.put("step", (double) step);
    out.put("ce", t.ce);
    if (losses.distils()) {
      out.put("gdkd", t.gdkd);
      out.put("beta", w.beta());
      out.put("ema", c.ema());
      total += w.beta() * t.gdkd;
    }
    if (losses.relates()) {
      out.put("rcka", t.rcka);
      total += w.omega() * t.rcka;
    }
    out.put("total", total);
    out.put("lr", rate);
    return out;
  }

  private static void write(
      VisionLanguageModel model,
      Parameters parameters,
      IbController controller,
      long step,
      Path from,
      Path outDir) {
    Path folder = Files2.folder(outDir.resolve("model"));
    writeModel(model, from, folder);
    SortedMap<String, float[]> state = parameters.state();
    float[] c = new float[7];
    split(controller.state().beta(), c, 0);
    split(controller.state().ema(), c, 3);
    c[6] = controller.state().started() ? 1 : 0;
    state.put(CONTROLLER, c);
    state.put(STEP, new float[] {step});
    StateFile.write(outDir.resolve(StateFile.FILE), state);
  }

  /** Writes a dense folder of the model's masters. */
  static void writeModel(VisionLanguageModel model, Path sideFiles, Path folder) {
    SortedMap<String, Tensor> tensors = new TreeMap<>();
    model
        .parameters()
        .forEach(
            (n, a) -> tensors.put(n, Tensor.of(a.getShape().getShape(), model.masters().get(n))));
    model.config().write(folder);
    CheckpointWriter.write(folder, tensors);
    if (!sideFiles.equals(folder)) {
      Files2.copySideFiles(sideFiles, folder);
    }
  }

  /** A double as the exact sum of three floats. */
  private static void split(double v, float[] c, int at) {
    c[at] = (float) v;
    c[at + 1] = (float) (v - c[at]);
    c[at + 2] = (float) (v - c[at] - c[at + 1]);
  }

  private static SortedMap<String, Double> measures(Curves curves, BatchMaker maker, long steps) {
    SortedMap<String, Double> out = new TreeMap<>();
    out.put("steps", (double) steps);
    for (String k : new String[] {"ce", "gdkd", "rcka", "beta", "total"}) {
      double v = curves.last(k);
      if (!Double.isNaN(v)) {
        out.put("final." + k, v);
      }
    }
    out.put("badExamples", (double) maker.bad().size());
    return out;
  }
}
