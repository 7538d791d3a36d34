package io.gracebeam.worker.methods.model;

/**
 * Checked inputs of a pass.
 *
 * @param ids [B][S]
 * @param wanted rows of [B * S] whose next-token logits are wanted
 */
@SuppressWarnings("ArrayRecordComponent") // compared by nobody
record InputIds(long[][] ids, long[] wanted) {
  int length() {
    return ids[0].length;
  }
}
