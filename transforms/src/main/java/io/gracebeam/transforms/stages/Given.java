package io.gracebeam.transforms.stages;

import java.io.Serializable;
import java.util.List;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.values.PCollectionView;
import org.checkerframework.checker.nullness.qual.Nullable;

/**
 * An artifact in a transform's configuration: known when the pipeline is built, or the only element
 * of a collection.
 */
record Given(@Nullable Artifact literal, @Nullable PCollectionView<Artifact> view)
    implements Serializable {

  static Given of(Artifact literal) {
    return new Given(literal, null);
  }

  static Given of(PCollectionView<Artifact> view) {
    return new Given(null, view);
  }

  /** The side input that it needs. */
  List<PCollectionView<?>> sideInputs() {
    return view == null ? List.of() : List.of(view);
  }

  Artifact get(DoFn<?, ?>.ProcessContext context) {
    return view == null ? literal : context.sideInput(view);
  }
}
