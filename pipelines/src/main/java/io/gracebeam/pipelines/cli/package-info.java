/** The {@code grace} command: one class per subcommand. No logic that a library user would miss. */
package io.gracebeam.pipelines.cli;
