/**
 * What client and worker agree on besides the services: the build id and the embedded worker's
 * provider interface.
 */
package io.gracebeam.proto.worker;
