package io.gracebeam.worker.methods.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.List;
import java.util.Optional;

/** Turns images into inputs of the decoder. */
public interface VisionTower {
  /**
   * Decoder inputs of images, in their order: [N, width], where N is the sum of their visual
   * tokens.
   *
   * <p>With {@link #deepRows} there are N more rows for each of them, which are added to the states
   * at the visual positions behind decoder blocks 0, 1, ...
   *
   * @param manager owner of the arrays
   */
  NDArray rows(NDManager manager, List<ModelImage> images);

  /** How many decoder blocks are given rows of their own. */
  default int deepRows() {
    return 0;
  }

  /** The parts of the tower that native blocks need; empty where they cannot train it. */
  default Optional<NativeVision> nativeVision() {
    return Optional.empty();
  }

  /** What a tower can be pre-trained by; empty where it cannot. */
  default Optional<PatchFeatures> patchFeatures() {
    return Optional.empty();
  }

  /** Features of square images, for pre-training. */
  interface PatchFeatures {
    /** Patches of an image, a square number. */
    int patches();

    /** Width of a patch's features. */
    int width();

    /** Features [B, n, width]; the patches in rows come last, a class token may stand first. */
    NDArray features(NDManager manager, List<ModelImage> images);
  }

  /** A tower whose blocks run on the native kernels of training. */
  interface NativeVision {
    /** Input of the first block, [B, S, width]. */
    NDArray input(NDManager manager, List<ModelImage> images);

    /** Number of blocks. */
    int blocks();

    /** One block. */
    NativeBlock block(int number);

    /** Of the last block's output what goes on: features [B, n, width]. */
    NDArray selected(NDArray last);

    /** Features [B, n, width] to decoder inputs [N, decoder width]. */
    NDArray project(NDArray features);
  }
}
