package io.gracebeam.proto.stage;

import java.util.List;

/**
 * Rows of the stage table. Found by {@link java.util.ServiceLoader}, so that a kind of stage can be
 * added beside those that come with the project.
 */
public interface StageRows {
  /** The rows; names must differ from those of all other rows. */
  List<StageKind> rows();
}
