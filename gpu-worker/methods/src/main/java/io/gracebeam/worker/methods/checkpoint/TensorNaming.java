package io.gracebeam.worker.methods.checkpoint;

import java.util.List;
import java.util.function.UnaryOperator;

/** Which canonical tensors the tensors of a model's files hold. */
@FunctionalInterface
public interface TensorNaming {
  /** Tensors under their own names. */
  TensorNaming AS_IS = info -> List.of(Piece.whole(info.name(), info));

  /**
   * What a file's tensor holds: mostly one tensor; none for a buffer that is no parameter; several
   * where, for instance, all experts of a block lie in one. A name that fits no rule is kept.
   */
  List<Piece> pieces(TensorInfo info);

  /**
   * A canonical tensor inside a file's tensor.
   *
   * @param name canonical name
   * @param shape canonical shape
   * @param cut makes it of the file's tensor; null where it is the whole tensor
   */
  record Piece(String name, long[] shape, UnaryOperator<Tensor> cut) {
    /** The whole tensor under a canonical name. */
    public static Piece whole(String name, TensorInfo info) {
      return new Piece(name, info.shape(), null);
    }
  }
}
