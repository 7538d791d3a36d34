/**
 * Flex template specifications, launch requests, container and cluster files. Holds no pipeline
 * code: that lives in {@code io.gracebeam.pipelines}.
 */
package io.gracebeam.templates;
