package io.gracebeam.worker.methods.training;

import io.gracebeam.worker.methods.data.Item;
import io.gracebeam.worker.methods.signals.Signals;

/** What one example gives to a training step; signals is null without a teacher. */
record Example(Item item, Signals signals) {}
