/**
 * What all work of a worker shares: inputs by role, output files, side files of model folders, and
 * progress. No numbers are computed here, and no other package of methods is used.
 */
package io.gracebeam.worker.methods.work;
