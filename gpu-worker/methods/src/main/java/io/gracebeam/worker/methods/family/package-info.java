/**
 * The contract of model families ({@link io.gracebeam.worker.methods.family.ModelFamily}), the
 * registry that finds them, and model folders. One package below this one per family; nothing
 * outside of such a package names it.
 */
package io.gracebeam.worker.methods.family;
