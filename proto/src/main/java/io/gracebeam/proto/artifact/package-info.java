/**
 * Immutable results of stages, found by digest and stage key: digests, keys, the write-once store,
 * the blobs that it is made of (found by URI scheme) and the cache of what was fetched from them.
 * No numerical code, no Beam, and no client of any object store: such a client is a plug-in.
 */
package io.gracebeam.proto.artifact;
