/**
 * Published test doubles: real gRPC servers on the loopback interface that publish deterministic
 * artifacts and fail on demand.
 *
 * <p>No numerical work is done here and no production code may depend on it.
 */
package io.gracebeam.transforms.testing;
