package io.gracebeam.proto.stage;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import io.gracebeam.proto.error.GraceException;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * A row of the stage table: one kind of stage.
 *
 * @param name unique, as in stage keys, manifests and plans; {@code [a-z][a-z0-9-]*}
 * @param version of the stage's meaning, from 1: part of the stage key, raised when the same inputs
 *     are to give another result
 * @param work default instance of the message that says what to do
 * @param inputs artifacts that a task of this kind reads, by role
 * @param output kind of the artifact that it publishes
 * @param executor who runs it
 */
public record StageKind(
    String name,
    int version,
    Message work,
    List<InputRole> inputs,
    String output,
    Executor executor) {
  private static final Pattern NAME = Pattern.compile("[a-z][a-z0-9-]{0,39}");

  /**
   * Checks name and version.
   *
   * @throws GraceException (bug) for a name or version that is not allowed
   */
  public StageKind {
    if (!NAME.matcher(name).matches() || version < 1) {
      throw GraceException.bug(
          "stage table: name '%s', version %d; allowed: a name like %s, a version from 1",
          name, version, NAME.pattern());
    }
    work = work.getDefaultInstanceForType();
    inputs = List.copyOf(inputs);
  }

  /** This kind with another version. */
  public StageKind withVersion(int other) {
    return new StageKind(name, other, work, inputs, output, executor);
  }

  /** Whether a task's work is a message of the given type. */
  public boolean does(Message type) {
    return work.getDescriptorForType().equals(type.getDescriptorForType());
  }

  /**
   * Refuses roles that a task of this kind cannot have.
   *
   * @param task names the task in messages
   * @throws GraceException (user) where a required input is missing or an input is unknown
   */
  public void checkInputs(String task, Set<String> roles) {
    for (InputRole input : inputs) {
      if (input.missing(roles)) {
        throw GraceException.user(
            "%s: stage %s: input %s is missing; given: %s",
            task, name, input, new TreeSet<>(roles));
      }
    }
    for (String role : new TreeSet<>(roles)) {
      if (inputs.stream().noneMatch(input -> input.matches(role))) {
        throw GraceException.user(
            "%s: stage %s has no input '%s'; allowed: %s",
            task,
            name,
            role,
            inputs.stream().map(InputRole::toString).collect(Collectors.joining(", ")));
      }
    }
  }

  /**
   * Reads the work of a task.
   *
   * @param task names the task in messages
   * @throws GraceException (bug) where the bytes are no message of this kind
   */
  public Message parse(String task, ByteString bytes) {
    try {
      return work.getParserForType().parseFrom(bytes);
    } catch (InvalidProtocolBufferException e) {
      throw wrongWork(task, e.getMessage()).withCause(e);
    }
  }

  /**
   * Reads the work of a request.
   *
   * @param task names the task in messages
   * @throws GraceException (user) where the request holds another message than this kind's
   */
  public Message unpack(String task, Any packed) {
    if (!packed.is(work.getClass())) {
      throw GraceException.user(
          "%s: stage %s: work is '%s'; allowed: %s",
          task, name, packed.getTypeUrl(), work.getDescriptorForType().getFullName());
    }
    return parse(task, packed.getValue());
  }

  /**
   * Checks that a message is this kind's work.
   *
   * @param task names the task in messages
   * @throws GraceException (bug) where it is another message
   */
  public Message check(String task, Message message) {
    if (!does(message)) {
      throw wrongWork(task, "it is a " + message.getDescriptorForType().getFullName());
    }
    return message;
  }

  private GraceException wrongWork(String task, String why) {
    return GraceException.bug(
        "%s: the work of stage %s is no %s: %s",
        task, name, work.getDescriptorForType().getFullName(), why);
  }
}
