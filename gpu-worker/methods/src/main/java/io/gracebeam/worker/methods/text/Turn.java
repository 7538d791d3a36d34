package io.gracebeam.worker.methods.text;

/** One question and its answer; the answer may be empty. */
public record Turn(String question, String answer) {}
