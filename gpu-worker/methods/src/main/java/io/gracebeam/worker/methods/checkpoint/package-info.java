/**
 * Safetensors files and Hugging Face checkpoint folders, read with full validation and written
 * deterministically.
 */
package io.gracebeam.worker.methods.checkpoint;
