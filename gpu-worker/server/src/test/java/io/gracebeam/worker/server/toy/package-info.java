/** A model family of the tests' own, to show that a family is an addition. */
package io.gracebeam.worker.server.toy;
