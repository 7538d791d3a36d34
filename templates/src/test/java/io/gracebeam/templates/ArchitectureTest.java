package io.gracebeam.templates;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.codeUnits;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.Dependency;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaCodeUnit;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.lang.ArchCondition;
import com.tngtech.archunit.lang.ConditionEvents;
import com.tngtech.archunit.lang.SimpleConditionEvent;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The arrows between modules and packages that ARCHITECTURE.md draws. */
class ArchitectureTest {
  private static final JavaClasses CLASSES =
      new ClassFileImporter()
          .withImportOption(new ImportOption.DoNotIncludeTests())
          .importPackages("io.gracebeam");

  private static final Pattern TENSORS =
      Pattern.compile("\"[^\"\n]*(language_model|vision_tower|multi_modal_projector)");

  @Test
  void modulesDependOnlyDownwards() {
    layeredArchitecture()
        .consideringOnlyDependenciesInAnyPackage("io.gracebeam..")
        .layer("proto")
        .definedBy("io.gracebeam.proto..")
        .layer("engine")
        .definedBy("io.gracebeam.worker.engine..")
        .layer("kernels")
        .definedBy("io.gracebeam.worker.kernels..")
        .layer("methods")
        .definedBy("io.gracebeam.worker.methods..")
        .layer("server")
        .definedBy("io.gracebeam.worker.server..")
        .layer("transforms")
        .definedBy("io.gracebeam.transforms..")
        .layer("pipelines")
        .definedBy("io.gracebeam.pipelines..")
        .whereLayer("server")
        .mayNotBeAccessedByAnyLayer()
        .whereLayer("methods")
        .mayOnlyBeAccessedByLayers("server")
        .whereLayer("engine")
        .mayOnlyBeAccessedByLayers("methods", "server")
        .whereLayer("kernels")
        .mayOnlyBeAccessedByLayers("methods", "server")
        .whereLayer("transforms")
        .mayOnlyBeAccessedByLayers("pipelines")
        .whereLayer("pipelines")
        .mayNotBeAccessedByAnyLayer()
        .check(CLASSES);
  }

  @Test
  void kernelsArePlainJava() {
    noClasses()
        .that()
        .resideInAPackage("io.gracebeam.worker.kernels..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(
            "ai.djl..", "io.grpc..", "com.google.protobuf..", "io.gracebeam.proto..")
        .check(CLASSES);
  }

  @Test
  void numericalCodeSeesNeitherBeamNorGrpc() {
    noClasses()
        .that()
        .resideInAnyPackage("io.gracebeam.worker.methods..", "io.gracebeam.worker.engine..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage("org.apache.beam..", "io.grpc..")
        .check(CLASSES);
  }

  @Test
  void beamCodeTouchesNoTensor() {
    noClasses()
        .that()
        .resideInAnyPackage("io.gracebeam.transforms..", "io.gracebeam.pipelines..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage("ai.djl..", "io.gracebeam.worker..")
        .check(CLASSES);
  }

  @Test
  void packagesFormNoCycle() {
    slices().matching("io.gracebeam.(**)").should().beFreeOfCycles().check(CLASSES);
  }

  /**
   * More parameters than that belong into records, which name them. A record's own constructor is
   * exempt: its parameters are the named parts that the rule asks for. So is what overrides a
   * method of a library, which chose the parameters, and generated code.
   */
  @Test
  void publicMethodsHaveAtMostSevenParameters() {
    codeUnits().that().arePublic().and(areOurOwn()).should(haveAtMostParameters(7)).check(CLASSES);
  }

  /** What no other package uses stays inside; a class that is started by its name is used. */
  @Test
  void publicKernelsAreUsedElsewhere() {
    classes()
        .that()
        .resideInAPackage("io.gracebeam.worker.kernels..")
        .and()
        .arePublic()
        .and()
        .areTopLevelClasses()
        .should(beUsedOutsideTheirPackage())
        .check(CLASSES);
  }

  /** A family is found by its model_type; its tensors' names stand in its own package. */
  @Test
  void modelFamiliesAreNamedInTheirPackagesAlone() throws IOException {
    noClasses()
        .that()
        .resideOutsideOfPackage("io.gracebeam.worker.methods.family.llava..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("io.gracebeam.worker.methods.family.llava..")
        .check(CLASSES);
    List<Path> naming = new ArrayList<>();
    for (String module : List.of("proto", "gpu-worker", "transforms", "pipelines", "templates")) {
      try (Stream<Path> files = Files.walk(Path.of("..", module))) {
        files
            .filter(f -> f.toString().endsWith(".java") && f.toString().contains("/src/main/"))
            .filter(f -> !f.toString().contains("/methods/family/llava/"))
            .filter(f -> TENSORS.matcher(text(f)).find())
            .forEach(naming::add);
      }
    }
    assertThat(naming).isEmpty();
  }

  private static String text(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void beamsPrivateCopiesStayPrivate() {
    noClasses()
        .that()
        .resideInAPackage("io.gracebeam..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("org.apache.beam.vendor..")
        .check(CLASSES);
  }

  private static DescribedPredicate<JavaCodeUnit> areOurOwn() {
    return DescribedPredicate.describe(
        "are written in a public class",
        unit ->
            unit.getOwner().getModifiers().contains(JavaModifier.PUBLIC)
                && !unit.getModifiers().contains(JavaModifier.SYNTHETIC)
                && !unit.getOwner().getPackageName().equals("io.gracebeam.proto.v1")
                && !(unit.isConstructor() && unit.getOwner().isRecord())
                && !overrides(unit));
  }

  private static boolean overrides(JavaCodeUnit unit) {
    return Stream.concat(
            unit.getOwner().getAllRawSuperclasses().stream(),
            unit.getOwner().getAllRawInterfaces().stream())
        .filter(type -> !type.getPackageName().startsWith("io.gracebeam"))
        .anyMatch(
            type ->
                type.tryGetMethod(
                        unit.getName(),
                        unit.getRawParameterTypes().stream()
                            .map(JavaClass::getName)
                            .toArray(String[]::new))
                    .isPresent());
  }

  private static ArchCondition<JavaCodeUnit> haveAtMostParameters(int most) {
    return new ArchCondition<>("have at most " + most + " parameters") {
      @Override
      public void check(JavaCodeUnit unit, ConditionEvents events) {
        int count = unit.getRawParameterTypes().size();
        if (count > most) {
          events.add(
              SimpleConditionEvent.violated(
                  unit, "%s has %d parameters".formatted(unit.getFullName(), count)));
        }
      }
    };
  }

  /** By code in another package, in the signature of what such code calls, or as a main class. */
  private static ArchCondition<JavaClass> beUsedOutsideTheirPackage() {
    return new ArchCondition<>("be used outside their package") {
      @Override
      public void check(JavaClass type, ConditionEvents events) {
        boolean used =
            type.tryGetMethod("main", String[].class).isPresent()
                || type.getDirectDependenciesToSelf().stream()
                    .anyMatch(d -> outside(d.getOriginClass(), type) || publishes(d));
        if (!used) {
          events.add(
              SimpleConditionEvent.violated(
                  type, type.getName() + " is public, but no other package uses it"));
        }
      }
    };
  }

  private static boolean outside(JavaClass user, JavaClass type) {
    return !user.getPackageName().equals(type.getPackageName());
  }

  /** Whether a public method of another public class has the type in its signature. */
  private static boolean publishes(Dependency d) {
    JavaClass type = d.getTargetClass();
    JavaClass owner = d.getOriginClass();
    return owner.getModifiers().contains(JavaModifier.PUBLIC)
        && owner.getCodeUnits().stream()
            .filter(unit -> unit.getModifiers().contains(JavaModifier.PUBLIC))
            .anyMatch(
                unit ->
                    unit.getRawReturnType().equals(type)
                        || unit.getRawParameterTypes().contains(type));
  }
}
