/**
 * Pipelines, the report and the {@code grace} command. Beam is used here, tensors are not: all
 * numerical work goes through the worker services of {@code io.gracebeam.proto}.
 */
package io.gracebeam.pipelines;
