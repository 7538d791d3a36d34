package io.gracebeam.transforms.stages;

import java.util.Map;
import org.apache.beam.sdk.coders.ByteArrayCoder;
import org.apache.beam.sdk.coders.KvCoder;
import org.apache.beam.sdk.coders.StringUtf8Coder;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.Flatten;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.transforms.ParDo;
import org.apache.beam.sdk.transforms.View;
import org.apache.beam.sdk.values.KV;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.PCollectionView;

/** Ways to hand the results of stages on to later ones. */
public final class StageResults {
  private StageResults() {}

  /**
   * All results as a map from task id to serialized manifest; a task id that stands twice fails the
   * pipeline.
   */
  public static PTransform<PCollectionList<StageResult>, PCollectionView<Map<String, byte[]>>>
      asView() {
    return new AsView();
  }

  private static final class AsView
      extends PTransform<PCollectionList<StageResult>, PCollectionView<Map<String, byte[]>>> {
    private static final long serialVersionUID = 1L;

    @Override
    public PCollectionView<Map<String, byte[]>> expand(PCollectionList<StageResult> results) {
      return results
          .apply("Flatten", Flatten.pCollections())
          .apply("ByTask", ParDo.of(new ByTaskFn()))
          .setCoder(KvCoder.of(StringUtf8Coder.of(), ByteArrayCoder.of()))
          .apply("AsMap", View.asMap());
    }
  }

  private static final class ByTaskFn extends DoFn<StageResult, KV<String, byte[]>> {
    private static final long serialVersionUID = 1L;

    @ProcessElement
    public void process(@Element StageResult result, OutputReceiver<KV<String, byte[]>> out) {
      out.output(KV.of(result.getTaskId(), result.getManifest()));
    }
  }
}
