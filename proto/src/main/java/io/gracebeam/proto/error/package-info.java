/**
 * Errors that every module shares: who has to act, the exit code, and the one meaning of each gRPC
 * code. Nothing here knows recipes, artifacts or workers.
 */
package io.gracebeam.proto.error;
