package io.gracebeam.worker.server.bench;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/**
 * The peak of this process's resident memory above what was resident when the measurement began.
 * Memory that was freed before, in Java or natively, is returned to the system first: blocks that
 * the allocator kept would be used again without being counted.
 */
final class ResidentPeak {
  private static final Path STATUS = Path.of("/proc/self/status");

  private final long before;

  private ResidentPeak(long before) {
    this.before = before;
  }

  /** Begins a measurement. */
  static ResidentPeak begin() throws IOException {
    System.gc();
    trim();
    Files.writeString(Path.of("/proc/self/clear_refs"), "5"); // VmHWM starts again at VmRSS
    return new ResidentPeak(DecodeMemory.kibibytes(STATUS, "VmRSS"));
  }

  /** Bytes of the peak since then. */
  long bytes() throws IOException {
    return (DecodeMemory.kibibytes(STATUS, "VmHWM") - before) * 1024;
  }

  /** Calls glibc's malloc_trim; other C libraries keep nothing that it could return. */
  private static void trim() {
    Linker linker = Linker.nativeLinker();
    Optional<MemorySegment> symbol = linker.defaultLookup().find("malloc_trim");
    if (symbol.isEmpty()) {
      return;
    }
    MethodHandle handle =
        linker.downcallHandle(
            symbol.get(), FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.JAVA_LONG));
    try {
      int ignored = (int) handle.invokeExact(0L);
    } catch (Throwable e) {
      throw GraceException.bug("malloc_trim could not be called").withCause(e);
    }
  }
}
