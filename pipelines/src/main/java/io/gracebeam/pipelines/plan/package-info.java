/**
 * From a resolved recipe to the list of stages that make its table. Nothing here runs anything or
 * touches a file, except for the settings of the built-in demonstrations, which are resources.
 */
package io.gracebeam.pipelines.plan;
