package io.gracebeam.proto.recipe;

import io.gracebeam.proto.v1.ExportWork;
import io.gracebeam.proto.v1.Recipe;
import io.gracebeam.proto.v1.TrainWork;
import io.gracebeam.proto.v1.Training;
import io.gracebeam.proto.v1.Variant;

/**
 * What a resolved recipe says of a variant's training and export, as the work messages of these
 * stages. Whoever plans with them gets the same stage keys.
 */
public final class Works {
  private Works() {}

  /** Training of a variant in one shard and one round. */
  public static TrainWork train(Recipe recipe, Variant variant) {
    boolean control = !variant.getQuantized() && !Variants.distils(variant);
    return TrainWork.newBuilder()
        .setTraining(control ? controlTraining(recipe) : recipe.getDistillation())
        .setGrace(recipe.getGrace())
        .setVariant(Variants.trained(variant))
        .setShards(1)
        .setRounds(1)
        .build();
  }

  /**
   * The control of equal extra steps: the baseline's own settings, for as many steps as
   * distillation has.
   */
  private static Training controlTraining(Recipe recipe) {
    Training own = recipe.hasBaseline() ? recipe.getBaseline() : recipe.getDistillation();
    return own.toBuilder().setSteps(recipe.getDistillation().getSteps()).build();
  }

  /** Export of a variant, by its quantizer. */
  public static ExportWork export(Variant variant) {
    return ExportWork.newBuilder()
        .setFormat(variant.getQuantized() ? "pack-quantized" : "dense")
        .setVariant(Variants.exported(variant))
        .setScales(variant.getQuantizer())
        .build();
  }
}
