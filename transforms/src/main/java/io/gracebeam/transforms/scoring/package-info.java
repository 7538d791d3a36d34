/**
 * Benchmark formats (readers and scorers, found as plug-ins by {@link
 * io.gracebeam.transforms.scoring.BenchmarkFormat}), scores, and bootstrap intervals over their
 * credits. Reads files and texts; knows no model, no worker and no Beam.
 */
package io.gracebeam.transforms.scoring;
