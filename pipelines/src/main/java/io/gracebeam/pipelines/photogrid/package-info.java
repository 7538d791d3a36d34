/** Builds question sets about grids of class-labeled photos, or of drawn shapes. */
package io.gracebeam.pipelines.photogrid;
