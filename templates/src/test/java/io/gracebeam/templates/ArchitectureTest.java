package io.gracebeam.templates;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import org.junit.jupiter.api.Test;

/** The arrows between modules and packages that ARCHITECTURE.md draws. */
class ArchitectureTest {
  private static final JavaClasses CLASSES =
      new ClassFileImporter()
          .withImportOption(new ImportOption.DoNotIncludeTests())
          .importPackages("io.gracebeam");

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
  void packagesOfPipelinesFormNoCycle() {
    slices().matching("io.gracebeam.pipelines.(*)..").should().beFreeOfCycles().check(CLASSES);
  }

  @Test
  void packagesOfMethodsFormNoCycle() {
    slices().matching("io.gracebeam.worker.methods.(*)..").should().beFreeOfCycles().check(CLASSES);
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
}
