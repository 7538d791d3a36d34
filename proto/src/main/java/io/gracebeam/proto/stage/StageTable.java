package io.gracebeam.proto.stage;

import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.plugin.Plugins;
import java.util.List;
import java.util.SortedSet;

/** All kinds of stages that the class path offers. */
public final class StageTable {
  private final Plugins<StageRows> rows;

  private StageTable(Plugins<StageRows> rows) {
    this.rows = rows;
  }

  /**
   * Finds all rows.
   *
   * @throws GraceException (environment) where two rows have one name or one cannot be loaded
   */
  public static StageTable load() {
    return new StageTable(
        Plugins.load(
            StageRows.class, "stage", part -> part.rows().stream().map(StageKind::name).toList()));
  }

  /**
   * The kind of stage of a name.
   *
   * @throws GraceException (user) for an unknown name; the message lists all names
   */
  public StageKind get(String name) {
    return rows.get(name).rows().stream()
        .filter(row -> row.name().equals(name))
        .findFirst()
        .orElseThrow();
  }

  /** All kinds, by name. */
  public List<StageKind> all() {
    return names().stream().map(this::get).toList();
  }

  /** All names, sorted. */
  public SortedSet<String> names() {
    return rows.names();
  }
}
