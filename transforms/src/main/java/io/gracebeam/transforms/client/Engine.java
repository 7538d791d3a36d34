package io.gracebeam.transforms.client;

/**
 * What the workers compute with, agreed by all of a pool.
 *
 * @param description name and version, for people
 * @param digest goes into every stage key
 * @param device processor or accelerator
 */
public record Engine(String description, String digest, String device) {}
