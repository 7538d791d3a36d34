package io.gracebeam.worker.server;

import io.gracebeam.proto.artifact.ArtifactStore;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.ArtifactRef;
import io.gracebeam.proto.v1.Manifest;
import io.gracebeam.proto.worker.Builds;
import io.gracebeam.worker.server.WorkMethods.EngineFacts;
import java.net.URI;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;

/**
 * Finds and publishes results in the artifact stores that requests name. Leaves no temporary folder
 * behind.
 */
final class Publisher {
  private final References references;
  private final Optional<URI> fallback;
  private final EngineFacts facts;

  Publisher(References references, Optional<URI> fallback, EngineFacts facts) {
    this.references = references;
    this.fallback = fallback;
    this.facts = facts;
  }

  /** URI of the store that a request names, or of the worker's own where it names none. */
  URI root(String store) {
    if (store.isEmpty()) {
      return fallback.orElseThrow(
          () ->
              GraceException.user(
                  "store: the request names no artifact store and the worker has none of its own"));
    }
    return references.uri("store", store);
  }

  /** The published result with a stage key. */
  Optional<Manifest> find(URI root, String key) {
    return ArtifactStore.open(root).find(key);
  }

  /** The worker's own store, looked up with a stage key. */
  Optional<Manifest> findInOwn(String key) {
    return fallback.flatMap(root -> find(root, key));
  }

  /**
   * Lets the work fill a fresh folder and publishes it.
   *
   * @param work fills the folder and returns the measures
   */
  Manifest publish(
      URI root,
      String key,
      String stage,
      String kind,
      Map<String, ArtifactRef> inputs,
      long seed,
      Function<Path, Map<String, Double>> work) {
    ArtifactStore store = ArtifactStore.open(root);
    Path temp = store.begin(key);
    try {
      Map<String, Double> measures = work.apply(temp);
      Manifest.Builder partial =
          Manifest.newBuilder()
              .setArtifact(ArtifactRef.newBuilder().setKind(kind))
              .setStage(stage)
              .setStageKey(key)
              .putTools("grace-beam", Builds.current())
              .putTools("engine", facts.digest())
              .setSeed(seed)
              .setHardware(facts.device())
              .putAllMeasures(measures);
      inputs.forEach((role, ref) -> partial.putInputs(role, ref.toBuilder().clearUri().build()));
      return store.publish(temp, partial);
    } finally {
      store.abandon(temp);
    }
  }
}
