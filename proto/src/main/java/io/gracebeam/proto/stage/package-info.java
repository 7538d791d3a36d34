/**
 * The stage table: what kinds of stages there are, with one row for each. Contracts, plans, stage
 * keys, pipelines, workers and fakes read it. Nothing here runs a stage.
 */
package io.gracebeam.proto.stage;
