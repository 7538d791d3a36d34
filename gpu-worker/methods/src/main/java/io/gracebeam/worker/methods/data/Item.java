package io.gracebeam.worker.methods.data;

/**
 * A tokenized example.
 *
 * @param ids token ids, image placeholder expanded
 * @param rows positions whose logits predict a supervised token (the position before it)
 * @param targets the supervised tokens
 * @param answers index of the exchange that each supervised token belongs to
 */
@SuppressWarnings("ArrayRecordComponent") // compared by nobody
public record Item(String id, long[] ids, int[] rows, int[] targets, int[] answers) {}
