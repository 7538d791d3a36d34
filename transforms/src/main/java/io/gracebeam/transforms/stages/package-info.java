/**
 * Beam transforms: typed ones for pipelines of a user's own ({@link
 * io.gracebeam.transforms.stages.AnswerQuestions}, {@link
 * io.gracebeam.transforms.stages.ExtractTeacher} and so on), and {@link
 * io.gracebeam.transforms.stages.RunStages}, on which they and the pipeline of {@code grace run}
 * are built.
 *
 * <p>A task becomes a result (a manifest) or a dead letter; its stage key is looked up before
 * anything runs. Stages that no worker runs are {@link io.gracebeam.transforms.stages.LocalStage}s.
 * No numerical code lives here.
 */
package io.gracebeam.transforms.stages;
