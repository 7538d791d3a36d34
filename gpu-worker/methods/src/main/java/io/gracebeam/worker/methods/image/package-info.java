/** Image decoding and the CLIP preprocessing, bit for bit as Pillow does it. */
package io.gracebeam.worker.methods.image;
