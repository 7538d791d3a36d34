package io.gracebeam.worker.methods.model;

/**
 * A greedy answer.
 *
 * @param ids new tokens, the end token included if it came
 * @param logProbs natural log-probability of each of them
 * @param text decoded, special tokens left out
 */
public record Generated(int[] ids, float[] logProbs, String text) {}
