/**
 * A Beam transform per stage: extract, gate statistics, train, export, answer.
 *
 * <p>Every stage has the same shape: tasks in, results (manifests) and dead letters out, a look-up
 * of the stage key before any worker is called. No numerical code lives here.
 */
package io.gracebeam.transforms.stages;
