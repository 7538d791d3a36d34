/**
 * LLaVA-1.5 (CLIP vision tower, projector, LLaMA decoder) as plain functions on DJL arrays, and
 * greedy generation.
 */
package io.gracebeam.worker.methods.model;
