/**
 * Immutable, content-addressed results of stages: digests, stage keys and the write-once store on a
 * file system. No numerical code and no Beam.
 */
package io.gracebeam.proto.artifact;
