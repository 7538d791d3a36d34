/**
 * What all model families share: the parts of a vision-language model and what they are given
 * ({@link io.gracebeam.worker.methods.model.ModelConfig}, {@link
 * io.gracebeam.worker.methods.model.Batch}), attention, norms, rotary positions, decoder blocks,
 * the passes of training, and greedy generation. Plain functions on DJL arrays. No family is named
 * here, and no file format is read.
 */
package io.gracebeam.worker.methods.model;
