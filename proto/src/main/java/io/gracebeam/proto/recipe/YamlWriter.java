package io.gracebeam.proto.recipe;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import java.math.BigDecimal;
import java.util.List;
import java.util.regex.Pattern;

/** A message as YAML, fields in the order of their declaration, only those that are set. */
final class YamlWriter {
  private static final Pattern BARE = Pattern.compile("[A-Za-z/][A-Za-z0-9_./-]*");
  private static final Pattern WORD_OF_YAML =
      Pattern.compile("(?i)true|false|yes|no|on|off|null|y|n");

  private final StringBuilder out = new StringBuilder();

  private YamlWriter() {}

  static String write(Message message) {
    YamlWriter writer = new YamlWriter();
    writer.fields(message, "");
    return writer.out.toString();
  }

  private void fields(Message message, String indent) {
    for (FieldDescriptor field : message.getDescriptorForType().getFields()) {
      if (field.isRepeated()) {
        if (message.getRepeatedFieldCount(field) > 0) {
          out.append(indent).append(field.getName()).append(":\n");
          list((List<?>) message.getField(field), indent + "  ");
        }
      } else if (message.hasField(field)) {
        out.append(indent).append(field.getName()).append(':');
        Object value = message.getField(field);
        if (value instanceof Message nested) {
          nested(nested, indent + "  ");
        } else {
          out.append(' ').append(scalar(value)).append('\n');
        }
      }
    }
  }

  private void nested(Message message, String indent) {
    if (message.getAllFields().isEmpty()) {
      out.append(" {}\n");
    } else {
      out.append('\n');
      fields(message, indent);
    }
  }

  private void list(List<?> values, String indent) {
    for (Object value : values) {
      if (value instanceof Message nested) {
        YamlWriter element = new YamlWriter();
        element.fields(nested, indent + "  ");
        String text = element.out.toString();
        out.append(indent).append("- ");
        out.append(text.isEmpty() ? "{}\n" : text.substring(indent.length() + 2));
      } else {
        out.append(indent).append("- ").append(scalar(value)).append('\n');
      }
    }
  }

  private static String scalar(Object value) {
    if (value instanceof Double number) {
      String text = new BigDecimal(Double.toString(number)).stripTrailingZeros().toPlainString();
      return text.length() <= 24 ? text : Double.toString(number);
    }
    return value instanceof String text ? text(text) : value.toString();
  }

  private static String text(String text) {
    if (BARE.matcher(text).matches() && !WORD_OF_YAML.matcher(text).matches()) {
      return text;
    }
    StringBuilder quoted = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c == '"' || c == '\\') {
        quoted.append('\\').append(c);
      } else if (c < 0x20 || c > 0x7e) {
        quoted.append(String.format("\\u%04x", (int) c));
      } else {
        quoted.append(c);
      }
    }
    return quoted.append('"').toString();
  }
}
