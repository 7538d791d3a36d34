package io.gracebeam.proto.recipe;

import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.Variant;
import java.io.StringReader;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.HashSet;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.yaml.snakeyaml.DumperOptions.ScalarStyle;
import org.yaml.snakeyaml.LoaderOptions;
import org.yaml.snakeyaml.Yaml;
import org.yaml.snakeyaml.constructor.SafeConstructor;
import org.yaml.snakeyaml.error.MarkedYAMLException;
import org.yaml.snakeyaml.error.YAMLException;
import org.yaml.snakeyaml.nodes.MappingNode;
import org.yaml.snakeyaml.nodes.Node;
import org.yaml.snakeyaml.nodes.NodeTuple;
import org.yaml.snakeyaml.nodes.ScalarNode;
import org.yaml.snakeyaml.nodes.SequenceNode;
import org.yaml.snakeyaml.nodes.Tag;

/**
 * Strict mapping of a YAML document onto a protobuf message by its descriptor. Values keep the
 * types that they are written in: a number is no text, a quoted text no number, {@code yes} no
 * truth value.
 */
final class YamlMessages {
  private static final Pattern INTEGER = Pattern.compile("[-+]?(0|[1-9][0-9]*)");
  private static final Pattern NUMBER =
      Pattern.compile("[-+]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][-+]?[0-9]{1,4})?");

  private final String source;

  YamlMessages(String source) {
    this.source = source;
  }

  void merge(String yaml, Message.Builder into) {
    Node root;
    try {
      LoaderOptions options = new LoaderOptions();
      options.setAllowDuplicateKeys(false);
      options.setMaxAliasesForCollections(0);
      options.setNestingDepthLimit(20);
      root = new Yaml(new SafeConstructor(options)).compose(new StringReader(yaml));
    } catch (MarkedYAMLException e) {
      int line = e.getProblemMark() == null ? 0 : e.getProblemMark().getLine() + 1;
      throw GraceException.user(
              "%s:%d: is not YAML (%s); allowed: one YAML document", source, line, e.getProblem())
          .withCause(e);
    } catch (YAMLException e) {
      throw GraceException.user("%s: is not YAML (%s)", source, e.getMessage()).withCause(e);
    }
    if (root == null) {
      throw GraceException.user(
          "%s: is empty; allowed: %s", source, keys(into.getDescriptorForType()));
    }
    message(root, "recipe", "", into);
  }

  private void message(Node node, String path, String prefix, Message.Builder into) {
    Descriptor type = into.getDescriptorForType();
    if (!(node instanceof MappingNode mapping) || !node.getTag().equals(Tag.MAP)) {
      throw wrong(node, path, "a map with keys " + keys(type));
    }
    Set<String> seen = new HashSet<>();
    for (NodeTuple tuple : mapping.getValue()) {
      String key = key(tuple.getKeyNode(), path, "one of " + keys(type));
      String full = prefix + key;
      FieldDescriptor field = type.findFieldByName(key);
      if (field == null) {
        throw error(tuple.getKeyNode(), full, "unknown key '" + key + "'", "one of " + keys(type));
      }
      if (!seen.add(key)) {
        throw error(tuple.getKeyNode(), full, "key '" + key + "' is written twice", "once");
      }
      field(tuple.getValueNode(), full, field, into);
    }
  }

  private void field(Node node, String path, FieldDescriptor field, Message.Builder into) {
    if (field.isMapField()) {
      map(node, path, field, into);
    } else if (field.isRepeated()) {
      if (!(node instanceof SequenceNode sequence) || sequence.getValue().isEmpty()) {
        throw wrong(node, path, "a list with at least one entry");
      }
      for (int i = 0; i < sequence.getValue().size(); i++) {
        Node element = sequence.getValue().get(i);
        into.addRepeatedField(field, value(element, path + "[" + i + "]", field, into));
      }
    } else {
      into.setField(field, value(node, path, field, into));
    }
  }

  private void map(Node node, String path, FieldDescriptor field, Message.Builder into) {
    if (!(node instanceof MappingNode mapping) || !node.getTag().equals(Tag.MAP)) {
      throw wrong(node, path, "a map");
    }
    FieldDescriptor keyField = field.getMessageType().findFieldByName("key");
    FieldDescriptor valueField = field.getMessageType().findFieldByName("value");
    Set<Object> seen = new HashSet<>();
    for (NodeTuple tuple : mapping.getValue()) {
      Message.Builder entry = into.newBuilderForField(field);
      Object key = value(tuple.getKeyNode(), path + " key", keyField, entry);
      String full = path + "." + key;
      if (!seen.add(key)) {
        throw error(tuple.getKeyNode(), full, "key '" + key + "' is written twice", "once");
      }
      entry.setField(keyField, key);
      entry.setField(valueField, value(tuple.getValueNode(), full, valueField, entry));
      into.addRepeatedField(field, entry.build());
    }
  }

  private Object value(Node node, String path, FieldDescriptor field, Message.Builder parent) {
    if (field.getJavaType() == FieldDescriptor.JavaType.MESSAGE) {
      Message.Builder nested = parent.newBuilderForField(field);
      if (node instanceof ScalarNode && field.getMessageType().equals(Variant.getDescriptor())) {
        FieldDescriptor preset = field.getMessageType().findFieldByName("preset");
        FieldDescriptor name = field.getMessageType().findFieldByName("name");
        return nested.setField(name, value(node, path, preset, nested)).build();
      }
      message(node, path, path + ".", nested);
      return nested.build();
    }
    Object value = scalar(node, path, field);
    Ranges.violation(field, value)
        .ifPresent(
            allowed -> {
              throw wrong(node, path, allowed);
            });
    return value;
  }

  private Object scalar(Node node, String path, FieldDescriptor field) {
    return switch (field.getType()) {
      case STRING -> {
        if (!(node instanceof ScalarNode scalar) || !node.getTag().equals(Tag.STR)) {
          throw wrong(node, path, "text (quote it if it looks like a number or a date)");
        }
        yield scalar.getValue();
      }
      case BOOL -> {
        String text = plain(node, path, "true or false");
        if (!text.equals("true") && !text.equals("false")) {
          throw wrong(node, path, "true or false");
        }
        yield text.equals("true");
      }
      case DOUBLE -> number(node, path);
      case FLOAT -> (float) number(node, path);
      case UINT32, FIXED32 -> integer(node, path, 0, Integer.MAX_VALUE).intValue();
      case INT32, SINT32, SFIXED32 ->
          integer(node, path, Integer.MIN_VALUE, Integer.MAX_VALUE).intValue();
      case UINT64, FIXED64 -> integer(node, path, 0, Long.MAX_VALUE).longValue();
      case INT64, SINT64, SFIXED64 ->
          integer(node, path, Long.MIN_VALUE, Long.MAX_VALUE).longValue();
      case ENUM -> {
        String allowed =
            field.getEnumType().getValues().stream()
                .map(EnumValueDescriptor::getName)
                .collect(Collectors.joining(", ", "one of ", ""));
        EnumValueDescriptor found = field.getEnumType().findValueByName(plain(node, path, allowed));
        if (found == null) {
          throw wrong(node, path, allowed);
        }
        yield found;
      }
      case BYTES, MESSAGE, GROUP ->
          throw GraceException.bug("%s: fields of type %s cannot be read", path, field.getType());
    };
  }

  private double number(Node node, String path) {
    String allowed = "a finite number";
    String text = plain(node, path, allowed);
    double value = NUMBER.matcher(text).matches() ? Double.parseDouble(text) : Double.NaN;
    if (!Double.isFinite(value)) {
      throw wrong(node, path, allowed);
    }
    return new BigDecimal(text).signum() == 0 ? 0.0 : value;
  }

  private BigInteger integer(Node node, String path, long low, long high) {
    String allowed = "a whole number, " + low + " to " + high;
    String text = plain(node, path, allowed);
    if (!INTEGER.matcher(text).matches() || text.length() > 21) {
      throw wrong(node, path, allowed);
    }
    BigInteger value = new BigInteger(text);
    if (value.compareTo(BigInteger.valueOf(low)) < 0
        || value.compareTo(BigInteger.valueOf(high)) > 0) {
      throw wrong(node, path, allowed);
    }
    return value;
  }

  private String plain(Node node, String path, String allowed) {
    if (node instanceof ScalarNode scalar && scalar.getScalarStyle() == ScalarStyle.PLAIN) {
      return scalar.getValue();
    }
    throw wrong(node, path, allowed);
  }

  private String key(Node node, String path, String allowed) {
    if (node instanceof ScalarNode scalar) {
      return scalar.getValue();
    }
    throw wrong(node, path + " key", allowed);
  }

  private GraceException wrong(Node node, String path, String allowed) {
    return error(node, path, describe(node) + " is not allowed", allowed);
  }

  private GraceException error(Node node, String path, String what, String allowed) {
    int line = node.getStartMark().getLine() + 1;
    return GraceException.user("%s:%d: %s: %s; allowed: %s", source, line, path, what, allowed);
  }

  private static String describe(Node node) {
    if (node instanceof ScalarNode scalar) {
      String text = scalar.getValue();
      return "'" + (text.length() > 80 ? text.substring(0, 80) + "..." : text) + "'";
    }
    if (node instanceof SequenceNode sequence) {
      return sequence.getValue().isEmpty() ? "an empty list" : "a list";
    }
    return "a map";
  }

  private static String keys(Descriptor type) {
    return type.getFields().stream()
        .map(FieldDescriptor::getName)
        .collect(Collectors.joining(", "));
  }
}
