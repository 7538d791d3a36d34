/** Mergeable, order-independent statistics, and the counter-based random numbers behind them. */
package io.gracebeam.transforms.statistics;
