package io.gracebeam.worker.engine;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.ndarray.types.DataType;

/**
 * An opened tensor engine.
 *
 * @param engine DJL's engine
 * @param device where tensors live
 * @param description for people: name, version, device, threads, instructions, and under "bits" a
 *     hash of what the engine makes of fixed numbers
 * @param digest sha256 (hex) of everything about the engine that may change a result's bits; part
 *     of stage keys
 * @param threads intra-operator threads
 * @param compute type of parameters' copies, activations and gradients: float32 or bfloat16
 */
public record EngineHandle(
    Engine engine,
    Device device,
    String description,
    String digest,
    int threads,
    DataType compute) {}
