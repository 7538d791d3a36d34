/** Readers and scorers of public benchmark formats, and bootstrap intervals over their answers. */
package io.gracebeam.transforms.scoring;
