/**
 * The gRPC services of a worker: admission, operations, model cache, health, errors.
 *
 * <p>Numerical work is reached through {@link io.gracebeam.worker.server.WorkMethods} and nothing
 * else; no class here but {@code GraceMethods} may name a class of {@code
 * io.gracebeam.worker.methods} or {@code io.gracebeam.worker.engine}.
 */
package io.gracebeam.worker.server;
