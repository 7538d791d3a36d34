/**
 * What a worker does for each kind of stage: one class per kind, found by {@link
 * java.util.ServiceLoader}. The classes here only hand a task over to the package that does the
 * work; no other package of this module knows them.
 */
package io.gracebeam.worker.methods.stages;
