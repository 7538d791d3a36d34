/**
 * Finds plug-ins: implementations of a service on the class path, by name. Nothing here knows what
 * a plug-in does.
 */
package io.gracebeam.proto.plugin;
