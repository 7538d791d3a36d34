/**
 * A DJL engine over libtorch's C functions, reached through {@code java.lang.foreign}: no JNI, no
 * compiler, any libtorch from 2.10 on. Nothing here knows of models or training methods.
 */
package io.gracebeam.worker.engine.libtorch;
