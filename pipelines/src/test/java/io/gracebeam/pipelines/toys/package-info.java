/** Plug-ins that only tests have: each shows that an addition touches no file of the project. */
package io.gracebeam.pipelines.toys;
