package io.gracebeam.transforms.client;

import io.gracebeam.proto.v1.Manifest;

/**
 * A finished piece of work.
 *
 * @param manifest what was published
 * @param workerSeconds the worker's own compute time
 */
public record Completed(Manifest manifest, double workerSeconds) {}
