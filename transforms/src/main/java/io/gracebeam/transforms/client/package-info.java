/**
 * The worker client: one channel per worker and JVM, bounded calls in flight, deadlines, retries by
 * status class, failover.
 *
 * <p>Nothing of Beam belongs here, and no tensor: requests and answers are the messages of {@code
 * proto}.
 */
package io.gracebeam.transforms.client;
