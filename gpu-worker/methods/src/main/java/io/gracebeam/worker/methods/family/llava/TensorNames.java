package io.gracebeam.worker.methods.family.llava;

import io.gracebeam.worker.methods.checkpoint.TensorInfo;
import io.gracebeam.worker.methods.checkpoint.TensorNaming.Piece;
import java.util.List;

/**
 * Maps the four generations of LLaVA tensor names to the canonical one, that of the published
 * llava-hf checkpoints:
 *
 * <ul>
 *   <li>published: {@code language_model.model.*}, {@code vision_tower.vision_model.*}
 *   <li>transformers 4.52 in memory: {@code model.language_model.*}, {@code
 *       model.vision_tower.vision_model.*}, {@code lm_head.*}
 *   <li>transformers 5 in memory: the same, without {@code vision_model.}
 *   <li>transformers 5 on disk: the published one, without {@code vision_model.}
 * </ul>
 */
final class TensorNames {
  private static final String LANGUAGE = "language_model.";
  private static final String TOWER = "vision_tower.";

  private TensorNames() {}

  /** The parameter that a file's tensor holds; none for a buffer. */
  static List<Piece> pieces(TensorInfo info) {
    String name = canonical(info.name());
    return name == null ? List.of() : List.of(Piece.whole(name, info));
  }

  /**
   * The canonical name; null for a buffer that is no parameter. A name that fits no rule is
   * returned as it is.
   */
  static String canonical(String name) {
    if (name.endsWith("rotary_emb.inv_freq") || name.endsWith("embeddings.position_ids")) {
      return null;
    }
    String out = name;
    if (out.startsWith("model.")) {
      out = out.substring("model.".length());
    }
    if (out.startsWith("lm_head.")) {
      return LANGUAGE + out;
    }
    if (out.startsWith(LANGUAGE)) {
      String rest = out.substring(LANGUAGE.length());
      return rest.startsWith("model.") || rest.startsWith("lm_head.")
          ? out
          : LANGUAGE + "model." + rest;
    }
    if (out.startsWith(TOWER)) {
      String rest = out.substring(TOWER.length());
      return rest.startsWith("vision_model.") ? out : TOWER + "vision_model." + rest;
    }
    return out.startsWith("multi_modal_projector.") ? out : name;
  }
}
