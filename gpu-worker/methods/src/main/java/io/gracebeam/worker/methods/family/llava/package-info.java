/**
 * LLaVA-1.5: CLIP vision tower, a projector of two layers, LLaMA decoder; its config.json, tensor
 * names and conversation template.
 */
package io.gracebeam.worker.methods.family.llava;
