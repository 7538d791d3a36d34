package io.gracebeam.pipelines.cli;

import io.gracebeam.proto.error.Category;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.worker.Builds;
import java.io.PrintWriter;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ScopeType;

/** {@code grace}: 4-bit vision-language models by quantization-aware distillation. */
@Command(
    name = "grace",
    description = "4-bit vision-language models by quantization-aware distillation.",
    mixinStandardHelpOptions = true,
    versionProvider = GraceCommand.Version.class,
    synopsisSubcommandLabel = "COMMAND",
    subcommands = {
      DemoCommand.class,
      AskCommand.class,
      RunCommand.class,
      PlanCommand.class,
      ReportCommand.class,
      VerifyCommand.class,
      DoctorCommand.class
    },
    footer = {
      "",
      "./grace worker --port N starts a worker process.",
      "./grace bench train|loss|kernels|decode measures times and memory.",
      "Exit codes: 0 done, 1 bug, 2 user, 3 data, 4 worker, 5 environment."
    })
public final class GraceCommand implements Runnable {
  @Option(names = "--debug", scope = ScopeType.INHERIT, description = "Show stack traces.")
  boolean debug;

  @CommandLine.Spec CommandLine.Model.CommandSpec spec;

  /** Version as {@code grace --version} prints it. */
  static final class Version implements CommandLine.IVersionProvider {
    @Override
    public String[] getVersion() {
      return new String[] {"grace-beam " + Builds.version()};
    }
  }

  @Override
  public void run() {
    spec.commandLine().usage(spec.commandLine().getOut());
  }

  /** Entry point; the exit code tells who has to act. */
  public static void main(String[] args) {
    System.exit(commandLine().execute(args));
  }

  /** The command line, with one-line errors and the exit codes of {@link Category}. */
  public static CommandLine commandLine() {
    CommandLine line = new CommandLine(new GraceCommand());
    line.setParameterExceptionHandler(
        (error, arguments) -> {
          PrintWriter err = error.getCommandLine().getErr();
          err.println(
              "grace: "
                  + oneLine(error.getMessage())
                  + " (see: "
                  + error.getCommandLine().getCommandSpec().qualifiedName()
                  + " --help)");
          return Category.USER.exitCode();
        });
    line.setExecutionStrategy(GraceCommand::execute);
    line.setExecutionExceptionHandler(
        (error, command, result) -> {
          GraceCommand root = (GraceCommand) command.getCommandSpec().root().userObject();
          if (root.debug) {
            error.printStackTrace(command.getErr());
          }
          Category category =
              error instanceof GraceException grace ? grace.category() : Category.BUG;
          String text =
              error instanceof GraceException ? error.getMessage() : String.valueOf(error);
          command
              .getErr()
              .println(
                  "grace: "
                      + oneLine(text)
                      + (category == Category.BUG
                          ? " (a bug: run again with --debug and report it)"
                          : ""));
          return category.exitCode();
        });
    return line;
  }

  /**
   * Runs the last subcommand. Picocli lets an {@link Error} pass; here it becomes one line, too.
   */
  private static int execute(CommandLine.ParseResult parsed) {
    try {
      return new CommandLine.RunLast().execute(parsed);
    } catch (OutOfMemoryError e) {
      throw failed(parsed, GraceException.outOfMemory(e));
    } catch (Error e) {
      throw failed(parsed, GraceException.bug("%s", e).withCause(e));
    }
  }

  private static CommandLine.ExecutionException failed(
      CommandLine.ParseResult parsed, GraceException error) {
    return new CommandLine.ExecutionException(
        parsed.commandSpec().commandLine(), error.getMessage(), error);
  }

  private static String oneLine(String text) {
    return String.valueOf(text).replaceAll("\\s*\\R\\s*", " ");
  }
}
