/** Builds question sets about grids of class-labelled photos, or of drawn shapes. */
package io.gracebeam.pipelines.photogrid;
