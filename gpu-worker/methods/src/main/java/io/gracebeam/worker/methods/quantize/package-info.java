/**
 * How weights become codes: which quantizer fits a weight. Nothing here reads or writes files, and
 * nothing knows a model or an export format.
 */
package io.gracebeam.worker.methods.quantize;
