/**
 * Adapters that offer the stages to Beam YAML and other languages: a SchemaTransformProvider for
 * each, nothing else.
 */
package io.gracebeam.transforms.providers;
