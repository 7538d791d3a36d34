/**
 * A blob store for tests, with the faults that object stores have. Test source sets register it in
 * {@code META-INF/services}; nothing in production does.
 */
package io.gracebeam.proto.artifact.testing;
