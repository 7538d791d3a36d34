/**
 * Training data: conversations about images, in an order that depends on nothing but seed and
 * epoch. No engine here.
 */
package io.gracebeam.worker.methods.data;
