/** {@code grace bench}: ratios of speeds, measured side by side in one run. */
package io.gracebeam.worker.server.bench;
