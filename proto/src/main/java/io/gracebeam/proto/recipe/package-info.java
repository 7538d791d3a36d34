/**
 * From a person's YAML to a validated recipe with every default filled in, and back. Reads no
 * models and no data; what needs them (widths, vocabularies) is checked where they are opened.
 */
package io.gracebeam.proto.recipe;
