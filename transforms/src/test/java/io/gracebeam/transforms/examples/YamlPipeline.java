package io.gracebeam.transforms.examples;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import org.apache.beam.sdk.Pipeline;
import org.apache.beam.sdk.io.TextIO;
import org.apache.beam.sdk.schemas.Schema;
import org.apache.beam.sdk.schemas.transforms.SchemaTransformProvider;
import org.apache.beam.sdk.transforms.Create;
import org.apache.beam.sdk.transforms.Flatten;
import org.apache.beam.sdk.transforms.MapElements;
import org.apache.beam.sdk.values.PCollection;
import org.apache.beam.sdk.values.PCollectionList;
import org.apache.beam.sdk.values.PCollectionRowTuple;
import org.apache.beam.sdk.values.Row;
import org.apache.beam.sdk.values.TypeDescriptors;
import org.yaml.snakeyaml.LoaderOptions;
import org.yaml.snakeyaml.Yaml;
import org.yaml.snakeyaml.constructor.SafeConstructor;

/**
 * Builds the part of Beam YAML that the examples use, since Beam's own runner of YAML is written in
 * Python: named inputs and outputs, {@code Create}, {@code WriteToJson}, and every transform that a
 * {@link SchemaTransformProvider} of the class path offers. Template variables are replaced.
 */
final class YamlPipeline {
  private final Pipeline pipeline;
  private final Map<String, String> urns = new LinkedHashMap<>();
  private final Map<String, PCollectionRowTuple> outputs = new LinkedHashMap<>();

  private YamlPipeline(Pipeline pipeline) {
    this.pipeline = pipeline;
  }

  static void expand(Pipeline pipeline, String yaml, Map<String, String> variables) {
    String text = yaml;
    for (Map.Entry<String, String> variable : variables.entrySet()) {
      text = text.replace("{{ " + variable.getKey() + " }}", variable.getValue());
    }
    Map<String, ?> root = map(new Yaml(new SafeConstructor(new LoaderOptions())).load(text));
    YamlPipeline built = new YamlPipeline(pipeline);
    for (Object provider : (List<?>) root.get("providers")) {
      map(map(provider).get("transforms"))
          .forEach((type, urn) -> built.urns.put(type, String.valueOf(urn)));
    }
    for (Object transform : (List<?>) map(root.get("pipeline")).get("transforms")) {
      built.add(map(transform));
    }
  }

  private void add(Map<String, ?> transform) {
    String type = (String) transform.get("type");
    String name = transform.containsKey("name") ? (String) transform.get("name") : type;
    Map<String, ?> config = map(transform.get("config"));
    switch (type) {
      case "Create" -> {
        List<Row> rows = new ArrayList<>();
        Schema.Builder schema = Schema.builder();
        List<?> elements = (List<?>) config.get("elements");
        map(elements.get(0)).keySet().forEach(schema::addStringField);
        Schema built = schema.build();
        elements.forEach(element -> rows.add(row(built, map(element))));
        outputs.put(
            name,
            PCollectionRowTuple.of(
                "output", pipeline.apply(name, Create.of(rows).withRowSchema(built))));
      }
      case "WriteToJson" ->
          input(name, transform.get("input"))
              .apply(
                  name + "/ToJson",
                  MapElements.into(TypeDescriptors.strings()).via(YamlPipeline::json))
              .apply(
                  name + "/Write",
                  TextIO.write().to((String) config.get("path")).withoutSharding());
      default -> outputs.put(name, apply(type, name, transform.get("input"), config));
    }
  }

  private PCollectionRowTuple apply(
      String type, String name, Object inputs, Map<String, ?> config) {
    SchemaTransformProvider provider = provider(urns.get(type));
    PCollectionRowTuple rows = PCollectionRowTuple.empty(pipeline);
    if (inputs instanceof Map<?, ?> named) {
      for (Map.Entry<?, ?> input : named.entrySet()) {
        rows = rows.and(String.valueOf(input.getKey()), input(name, input.getValue()));
      }
    } else if (inputs != null) {
      rows = rows.and("input", input(name, inputs));
    }
    return rows.apply(name, provider.from(row(provider.configurationSchema(), config)));
  }

  private static SchemaTransformProvider provider(String urn) {
    for (SchemaTransformProvider provider : ServiceLoader.load(SchemaTransformProvider.class)) {
      if (provider.identifier().equals(urn)) {
        return provider;
      }
    }
    throw new AssertionError("no provider " + urn);
  }

  private PCollection<Row> input(String name, Object given) {
    if (given instanceof List<?> several) {
      PCollectionList<Row> all = PCollectionList.empty(pipeline);
      for (Object one : several) {
        all = all.and(input(name, one));
      }
      return all.apply(name + "/Inputs", Flatten.pCollections());
    }
    String[] parts = String.valueOf(given).split("\\.", 2);
    return outputs.get(parts[0]).get(parts.length == 1 ? "output" : parts[1]);
  }

  private static Row row(Schema schema, Map<String, ?> values) {
    for (String key : values.keySet()) {
      if (!schema.hasField(key)) {
        throw new AssertionError("no field " + key + " in " + schema.getFieldNames());
      }
    }
    Row.FieldValueBuilder row = Row.withSchema(schema).withFieldValues(Map.of());
    for (Schema.Field field : schema.getFields()) {
      row =
          row.withFieldValue(field.getName(), value(field.getType(), values.get(field.getName())));
    }
    return row.build();
  }

  private static Object value(Schema.FieldType type, Object value) {
    if (value == null) {
      return null;
    }
    return switch (type.getTypeName()) {
      case INT64 -> ((Number) value).longValue();
      case DOUBLE -> ((Number) value).doubleValue();
      case ROW -> row(type.getRowSchema(), map(value));
      case ARRAY, ITERABLE -> List.copyOf((Collection<?>) value);
      default -> value;
    };
  }

  private static String json(Row row) {
    try {
      return new ObjectMapper().writeValueAsString(plain(row));
    } catch (JsonProcessingException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static Object plain(Object value) {
    if (!(value instanceof Row row)) {
      return value;
    }
    Map<String, Object> fields = new LinkedHashMap<>();
    row.getSchema().getFieldNames().forEach(name -> fields.put(name, plain(row.getValue(name))));
    return fields;
  }

  @SuppressWarnings("unchecked")
  private static Map<String, ?> map(Object value) {
    return value == null ? Map.of() : (Map<String, ?>) value;
  }
}
