#!/usr/bin/env bash
# Runs grace-beam: finds a JDK 25, builds on first use and when sources changed, then starts the command.
set -eu
root=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
. "$root/etc/find-jdk"
find_jdk || exit 5
stamp=$root/pipelines/target/launcher.stamp
classpath=$root/pipelines/target/classpath
stale() {
  [ -f "$stamp" ] && [ -f "$classpath" ] || return 0
  [ -n "$(find "$root/pom.xml" "$root"/*/pom.xml "$root"/gpu-worker/*/pom.xml \
      "$root"/proto/src/main "$root"/transforms/src/main "$root"/pipelines/src/main "$root"/gpu-worker/*/src/main \
      -newer "$stamp" -type f -print -quit 2>/dev/null)" ]
}
if stale; then
  echo "grace: building (first use, or sources changed) ..." >&2
  touch "$root/.grace-build"
  if ! (cd "$root" && ./mvnw -q -B -pl pipelines -am -DskipTests package >&2); then
    rm -f "$root/.grace-build"
    echo "grace: the build failed; its messages are above" >&2
    exit 5
  fi
  mv "$root/.grace-build" "$stamp"
fi
jar=$(ls "$root"/pipelines/target/grace-pipelines-*.jar | head -n 1)
main=io.gracebeam.pipelines.cli.GraceCommand
case "${1:-}" in
  worker) shift; main=io.gracebeam.worker.server.WorkerMain ;;
  bench) shift; main=io.gracebeam.worker.server.bench.BenchMain ;;
esac
# GRACE_PLUGINS names folders and jars of plug-ins (docs/extending.md), with ':' between them.
tty=false
[ -t 2 ] && tty=true
# The heap takes a third of the memory, the rest is for the engine's own.
third=$(awk '/^MemTotal/ {m = int($2 / 1048576 / 3); print (m < 2 ? 2 : m > 16 ? 16 : m)}' /proc/meminfo 2>/dev/null || echo 2)
# The engine asks for large blocks again and again: let malloc keep them instead of returning each to the kernel, in one arena
# (an arena of another thread gives its heaps back).
export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-1} MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-4294967296} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-17179869184}
# A thread that lost its core must not keep the others spinning: 15 times the speed on a machine that is shared.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}
# The Java heap begins small and grows where 5 % of the time would go into collections: otherwise short-lived arrays (logits of each
# token) fill as much of it as there is before they are collected, 70 MB beside a decoder of 1.5 GB.
# Tensors pass through direct buffers, which only a collection frees: the bound makes it happen in time.
exec "$JAVA_HOME/bin/java" -Xms16m -Xmx"${GRACE_HEAP:-${third:-2}g}" -XX:GCTimeRatio=19 -XX:MaxDirectMemorySize="${GRACE_DIRECT:-1g}" --enable-native-access=ALL-UNNAMED \
  --add-modules jdk.incubator.vector --sun-misc-unsafe-memory-access=allow -XX:+UseParallelGC \
  -Djava.util.logging.config.file="$root/etc/logging.properties" -Dai.djl.offline=true -Dgrace.tty=$tty -Dgrace.root="$root" \
  ${GRACE_JAVA_OPTIONS:-} -cp "$jar:$(cat "$classpath")${GRACE_PLUGINS:+:$GRACE_PLUGINS}" "$main" "$@"
