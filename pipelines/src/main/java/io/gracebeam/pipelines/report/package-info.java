/**
 * {@code report.json} and {@code report.html}. The page is a pure function of the JSON, and the
 * JSON a pure function of the artifacts, except for its {@code timings} and {@code cached} entries.
 */
package io.gracebeam.pipelines.report;
