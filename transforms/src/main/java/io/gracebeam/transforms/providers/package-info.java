/**
 * The typed transforms for Beam YAML and other languages: configuration in plain fields, elements
 * as rows, errors as {@code error_handling} asks. Nothing is computed here.
 */
package io.gracebeam.transforms.providers;
