package io.gracebeam.worker.engine.libtorch;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.zip.CRC32;

/**
 * Finds libtorch's shared libraries and loads them, once per process: from the folder that
 * GRACE_LIBTORCH (or the system property {@code grace.libtorch}) names, else from the jars on the
 * class path, which are unpacked into a cache folder on first use.
 */
final class Natives {
  /** What was loaded: the lookup of its symbols, and for people where it came from. */
  record Loaded(SymbolLookup torch, SymbolLookup c10, Path folder, String source) {}

  static final String VARIABLE = "GRACE_LIBTORCH";
  private static final String PROPERTY = "grace.libtorch";
  private static final String CPU = "libtorch_cpu.so";
  private static final String[] PACKAGED = {
    "pytorch/libgomp.so.1",
    "pytorch/libc10.so",
    "pytorch/" + CPU,
    "openblas/libgcc_s.so.1",
    "openblas/libquadmath.so.0",
    "openblas/libgfortran.so.5",
    "openblas/libopenblas.so.0"
  };

  private static final int RTLD_LAZY = 1;
  private static final byte[] ELF = {0x7f, 'E', 'L', 'F'};

  private static Loaded loaded;

  private Natives() {}

  /**
   * Loads the libraries on the first call.
   *
   * @throws GraceException ENVIRONMENT where there are none, or not for this machine
   */
  static synchronized Loaded load() {
    if (loaded == null) {
      requirePlatform();
      String given = System.getProperty(PROPERTY, System.getenv(VARIABLE));
      Path folder = given == null || given.isBlank() ? unpacked() : checked(Path.of(given));
      prepareProcess();
      SymbolLookup torch = open(folder.resolve(CPU));
      SymbolLookup c10 = open(folder.resolve("libc10.so"));
      loaded = new Loaded(torch, c10, folder, given == null || given.isBlank() ? "jar" : VARIABLE);
    }
    return loaded;
  }

  /** Loads one more library of the same folder; its constructors register operators. */
  static SymbolLookup more(String file) {
    return open(load().folder().resolve(file));
  }

  /** Whether the folder that is in use has this file. */
  static boolean has(String file) {
    return Files.isRegularFile(load().folder().resolve(file));
  }

  /** Bytes of libtorch_cpu.so. */
  static long size() {
    try {
      return Files.size(load().folder().resolve(CPU));
    } catch (IOException e) {
      throw GraceException.environment("LibTorch: cannot read %s: %s", CPU, e.getMessage());
    }
  }

  private static void requirePlatform() {
    String os = System.getProperty("os.name");
    if (!os.toLowerCase(Locale.ROOT).contains("linux")) {
      throw GraceException.environment("LibTorch: this system is %s; allowed: Linux", os);
    }
  }

  private static Path checked(Path folder) {
    if (!Files.isRegularFile(folder.resolve(CPU))) {
      throw GraceException.environment(
          "%s names %s, which has no %s; allowed: the lib folder of an installed torch",
          VARIABLE, folder, CPU);
    }
    requireElf(folder.resolve(CPU));
    return folder;
  }

  /** The JVM warns at length of a file that is no library, and only then refuses it. */
  private static void requireElf(Path file) {
    try (InputStream in = Files.newInputStream(file)) {
      if (!Arrays.equals(in.readNBytes(ELF.length), ELF)) {
        throw GraceException.environment(
            "%s names %s, whose %s is no shared library; allowed: the lib folder of an installed torch",
            VARIABLE, file.getParent(), CPU);
      }
    } catch (IOException e) {
      throw GraceException.environment("LibTorch: cannot read %s: %s", file, e);
    }
  }

  private static SymbolLookup open(Path file) {
    try {
      return SymbolLookup.libraryLookup(file, Arena.global());
    } catch (IllegalArgumentException e) {
      throw GraceException.environment(
              "LibTorch: %s could not be loaded (%s); allowed: libtorch 2.10 or newer for this processor and C library",
              file, reason(file))
          .withCause(e);
    }
  }

  /** What the dynamic linker has against a library, which Java does not pass on. */
  private static String reason(Path file) {
    Linker linker = Linker.nativeLinker();
    Optional<MemorySegment> open = linker.defaultLookup().find("dlopen");
    Optional<MemorySegment> error = linker.defaultLookup().find("dlerror");
    if (open.isEmpty() || error.isEmpty()) {
      return "no reason is known";
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment found =
          (MemorySegment)
              linker
                  .downcallHandle(
                      open.get(),
                      FunctionDescriptor.of(
                          ValueLayout.ADDRESS, ValueLayout.ADDRESS, ValueLayout.JAVA_INT))
                  .invokeExact(arena.allocateFrom(file.toString()), RTLD_LAZY);
      MemorySegment text =
          (MemorySegment)
              linker
                  .downcallHandle(error.get(), FunctionDescriptor.of(ValueLayout.ADDRESS))
                  .invokeExact();
      return found.address() != 0 || text.address() == 0
          ? "no reason is known"
          : text.reinterpret(1 << 16).getString(0);
    } catch (Throwable e) {
      throw GraceException.bug("dlopen could not be called").withCause(e);
    }
  }

  private static Path unpacked() {
    List<URL> urls = new ArrayList<>();
    CRC32 identity = new CRC32();
    for (String entry : PACKAGED) {
      URL url = resource(entry);
      urls.add(url);
      try {
        String line = entry + ' ' + url.openConnection().getContentLengthLong();
        identity.update(line.getBytes(StandardCharsets.UTF_8));
      } catch (IOException e) {
        throw GraceException.environment("LibTorch: cannot read %s: %s", url, e.getMessage());
      }
    }
    String home =
        System.getenv().getOrDefault("XDG_CACHE_HOME", System.getProperty("user.home") + "/.cache");
    Path cache = Path.of(home, "grace-beam");
    Path target = cache.resolve("libtorch-%08x".formatted(identity.getValue()));
    if (!Files.isDirectory(target)) {
      unpack(urls, cache, target);
    }
    return target;
  }

  private static URL resource(String entry) {
    String arch = System.getProperty("os.arch").equals("amd64") ? "x86_64" : "arm64";
    int slash = entry.indexOf('/');
    String name =
        "org/bytedeco/%s/linux-%s%s"
            .formatted(entry.substring(0, slash), arch, entry.substring(slash));
    URL url = Natives.class.getClassLoader().getResource(name);
    if (url == null) {
      throw GraceException.environment(
          "LibTorch: no libraries for linux-%s on the class path (%s); allowed: their jars, or %s naming the lib folder of an installed torch",
          arch, name, VARIABLE);
    }
    return url;
  }

  /** Publishes the folder by one rename, so that no reader sees half of it. */
  private static void unpack(List<URL> urls, Path cache, Path target) {
    try {
      Files.createDirectories(cache);
      Path fresh = Files.createTempDirectory(cache, "libtorch");
      for (URL url : urls) {
        String path = url.getPath();
        try (InputStream in = url.openStream()) {
          Files.copy(in, fresh.resolve(path.substring(path.lastIndexOf('/') + 1)));
        }
      }
      try {
        Files.move(fresh, target, StandardCopyOption.ATOMIC_MOVE);
      } catch (IOException e) {
        if (!Files.isDirectory(target)) {
          throw e;
        }
        for (URL url : urls) {
          String path = url.getPath();
          Files.deleteIfExists(fresh.resolve(path.substring(path.lastIndexOf('/') + 1)));
        }
        Files.delete(fresh);
      }
    } catch (IOException e) {
      throw GraceException.environment("LibTorch: cannot unpack its libraries to %s: %s", cache, e);
    }
  }

  /**
   * Settings that the libraries read while they load, where the user has not set them. libtorch
   * before 2.13 prints a back trace with each error, which the exception already tells. OpenBLAS's
   * threads spin for 2^n cycles after each product, 26 by default, and take the cores from
   * OpenMP's. OpenMP's own spin for 300,000 rounds, some 16 ms: on a machine that is shared, a
   * thread that was taken off its core then keeps the others spinning, and a step takes 15 times as
   * long.
   */
  private static void prepareProcess() {
    Processor.here().settings().forEach(Natives::setDefault);
    setDefault("TORCH_CPP_LOG_LEVEL", "FATAL");
    setDefault("OPENBLAS_THREAD_TIMEOUT", "10");
    setDefault("GOMP_SPINCOUNT", "10000");
    // Products on CUDA are deterministic only with a workspace of fixed size.
    setDefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
  }

  private static void setDefault(String name, String value) {
    if (System.getenv(name) == null) {
      setenv(name, value);
    }
  }

  private static void setenv(String name, String value) {
    Linker linker = Linker.nativeLinker();
    MemorySegment address = linker.defaultLookup().find("setenv").orElseThrow();
    try (Arena arena = Arena.ofConfined()) {
      int failed =
          (int)
              linker
                  .downcallHandle(
                      address,
                      FunctionDescriptor.of(
                          ValueLayout.JAVA_INT,
                          ValueLayout.ADDRESS,
                          ValueLayout.ADDRESS,
                          ValueLayout.JAVA_INT))
                  .invokeExact(arena.allocateFrom(name), arena.allocateFrom(value), 0);
      if (failed != 0) {
        throw GraceException.environment("LibTorch: setenv %s failed", name);
      }
    } catch (RuntimeException e) {
      throw e;
    } catch (Throwable e) {
      throw GraceException.bug("setenv could not be called").withCause(e);
    }
  }
}
