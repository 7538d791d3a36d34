package io.gracebeam.worker.methods.checkpoint;

/**
 * Where a tensor lies in a safetensors file.
 *
 * @param name as in the file
 * @param dtype element type
 * @param shape row-major shape; empty for a scalar
 * @param begin first byte, from the start of the file
 * @param end one past the last byte, from the start of the file
 */
public record TensorInfo(String name, DType dtype, long[] shape, long begin, long end) {}
