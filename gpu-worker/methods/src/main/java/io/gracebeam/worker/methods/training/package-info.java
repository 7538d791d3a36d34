/**
 * Makes starting models, trains students (quantization-aware, distilled) and combines shards. Same
 * inputs give the same bytes. No file formats of other tools here, and no network.
 */
package io.gracebeam.worker.methods.training;
