/** Runs a plan as a Beam pipeline, inside a run folder that holds what the run leaves behind. */
package io.gracebeam.pipelines.run;
