package io.gracebeam.proto.recipe;

import io.gracebeam.proto.v1.Controller;
import io.gracebeam.proto.v1.Data;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.proto.v1.Evaluation;
import io.gracebeam.proto.v1.Grace;
import io.gracebeam.proto.v1.Models;
import io.gracebeam.proto.v1.OuterOptimizer;
import io.gracebeam.proto.v1.Quantization;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.TeacherCache;
import io.gracebeam.proto.v1.Training;
import java.util.List;

/**
 * What holds where a recipe says nothing: GRACE's values, at the scale of photo grids of 2 x 2
 * cells that a laptop trains in minutes. Group size is 32, which divides every width of such models
 * (128 does not divide an MLP of 352).
 */
final class Defaults {
  /** Rows of the table where a teacher is given. */
  static final List<String> VARIANTS =
      List.of(
          "teacher",
          "bf16",
          "bf16-more-steps",
          "bf16-distilled",
          "rtn-int4",
          "qat-int4",
          "kd-int4",
          "grace-int4");

  /** Everything except name, folders, benchmarks, variants. */
  static final Recipe RECIPE =
      Recipe.newBuilder()
          .setData(Data.newBuilder().setTrain("").setMaxExamples(0).setShardExamples(256))
          .setModels(Models.newBuilder().setTeacher("").setStudent(""))
          .setBaseline(training())
          .setDistillation(training())
          .setGrace(
              Grace.newBuilder()
                  .setTemperature(2)
                  .setAlpha(1)
                  .setBetaDkd(4)
                  .setOmega(1)
                  .setRckaWarmupSteps(0)
                  .setController(
                      Controller.newBuilder()
                          .setTau(3)
                          .setEta(0.003)
                          .setBetaInit(0.5)
                          .setBetaMin(0.1)
                          .setBetaMax(1)
                          .setEmaDecay(0.99)))
          .setQuantization(
              Quantization.newBuilder()
                  .setBits(4)
                  .setGroupSize(32)
                  .setPerTensor(false)
                  .setSymmetric(true)
                  .setHeadBits(16)
                  .setVisionBits(16)
                  .setProjectorBits(16)
                  .setKvBits(16))
          .setTeacherCache(TeacherCache.newBuilder().setForm("full").setTopK(64).setGram("bf16"))
          .setEvaluation(
              Evaluation.newBuilder()
                  .setMaxNewTokens(0)
                  .setBatch(32)
                  .setMaxQuestions(0)
                  .setBootstrap(2000))
          .setShards(1)
          .setRounds(1)
          .setOuter(OuterOptimizer.newBuilder().setLearningRate(0.7).setMomentum(0.9))
          .setEngine(
              EngineSettings.newBuilder()
                  .setName("LibTorch")
                  .setThreads(0)
                  .setDevice("cpu")
                  .setCompute("auto"))
          .build();

  private Defaults() {}

  private static Training training() {
    return Training.newBuilder()
        .setSteps(500)
        .setBatchExamples(48)
        .setMicroBatchExamples(12)
        .setLearningRate(5e-4)
        .setWeightDecay(0.05)
        .setBeta1(0.9)
        .setBeta2(0.95)
        .setClipNorm(1)
        .setWarmupFraction(0.03)
        .setScaleRateFactor(10)
        .setTrainVision(false)
        .setLossMemoryMb(256)
        .setCheckpointBlocks(false)
        .build();
  }
}
