/**
 * Training data: conversations about images, in an order that depends on nothing but seed and
 * epoch, and the tokens and pixels made of them.
 */
package io.gracebeam.worker.methods.data;
