package io.gracebeam.worker.methods.model;

import io.gracebeam.worker.methods.text.ChatTokenizer;
import java.nio.file.Path;
import java.util.List;

/**
 * One question about one image.
 *
 * @param image file
 * @param turns earlier turns as they are, then the question (its answer is not looked at)
 */
public record Prompt(Path image, List<ChatTokenizer.Turn> turns) {}
