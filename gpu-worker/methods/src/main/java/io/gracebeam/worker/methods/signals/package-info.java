/**
 * The teacher cache: what a frozen teacher says about each supervised token and each image, written
 * once and read by every student.
 */
package io.gracebeam.worker.methods.signals;
