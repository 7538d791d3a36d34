/**
 * Published doubles: a worker that fails on demand and work that needs no engine. For tests of
 * clients and pipelines.
 */
package io.gracebeam.worker.server.testing;
