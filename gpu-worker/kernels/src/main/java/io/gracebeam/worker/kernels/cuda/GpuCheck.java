package io.gracebeam.worker.kernels.cuda;

import io.gracebeam.worker.kernels.DecoderShape;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;

/**
 * Checks every CUDA kernel against the Java oracle at random awkward sizes and times them; {@code
 * gpu-worker/gpu-check} runs it on a machine with a GPU.
 */
public final class GpuCheck {
  private static final DecoderShape LLAVA_7B =
      new DecoderShape(32, 4096, 32, 32, 128, 11008, 32064, 1e-5f);
  private static final DecoderShape QWEN2_VL_2B =
      new DecoderShape(28, 1536, 12, 2, 128, 8960, 151936, 1e-6f);
  private static final int[] INPUTS = {1, 2, 4, 8, 16, 32, 64, 256};

  private GpuCheck() {}

  /**
   * Arguments: the library, the file to write, tries of each check, and optionally a file with
   * torch's figures. Exits with 1 if a check or a benchmark failed, with 2 without a GPU.
   */
  public static void main(String[] args) throws IOException {
    CudaLibrary library = CudaLibrary.open(Path.of(args[0]));
    Report report = new Report();
    try (LibraryDevice device = new LibraryDevice(library)) {
      String name = name(device);
      checks(library, device, report, Integer.parseInt(args[2]), new Random().nextLong());
      if (library.onDevice()) {
        bench(library, device, report);
      }
      Path torch = args.length > 3 ? Path.of(args[3]) : null;
      String others = torch != null && Files.exists(torch) ? Files.readString(torch) : null;
      Files.writeString(Path.of(args[1]), report.json(name, others));
    }
    System.out.println(report.good() ? "all kernels agree with the oracle" : "there were failures");
    System.exit(report.good() ? 0 : 1);
  }

  private static String name(LibraryDevice device) {
    try {
      return device.name();
    } catch (IllegalStateException e) {
      System.err.println("gpu-check: " + e.getMessage());
      System.exit(2);
      throw e; // not reached
    }
  }

  /** Runs each check some times with fresh numbers; a failure names what repeats it. */
  static void checks(CudaLibrary library, Device device, Report report, int tries, long firstSeed) {
    for (CudaChecks.Check check : CudaChecks.all(library, device)) {
      int good = 0;
      for (int i = 0; i < tries; i++) {
        long seed = firstSeed + i;
        try {
          check.body().run(new Random(seed));
          good++;
        } catch (IllegalStateException e) {
          report.failure("%s, seed %d: %s".formatted(check.name(), seed, e.getMessage()));
        }
      }
      report.row("check " + check.name(), good, "of " + tries + " agree", null, null);
    }
  }

  private static void bench(CudaLibrary library, LibraryDevice device, Report report) {
    try (CudaBench bench = new CudaBench(library, device, report)) {
      double copies = bench.copies(2L << 30);
      for (int bits : new int[] {4, 8, 16}) {
        bench.products("32768 x 8192", bits, 32768, 8192, 128, INPUTS, copies);
        bench.products("12288 x 4096", bits, 12288, 4096, 128, INPUTS, copies);
        bench.products("22016 x 4096", bits, 22016, 4096, 128, INPUTS, copies);
        bench.products("4096 x 11008", bits, 4096, 11008, 128, INPUTS, copies);
        bench.products("1536 x 8960", bits, 1536, 8960, 128, INPUTS, copies);
      }
      decode(bench, "LLaVA-1.5-7B", LLAVA_7B, 700);
      decode(bench, "Qwen2-VL-2B", QWEN2_VL_2B, 1500);
    } catch (IllegalStateException e) {
      // What was measured before stays in the report.
      report.failure("benchmark: " + e.getMessage());
    }
  }

  private static void decode(CudaBench bench, String name, DecoderShape shape, int context) {
    for (int batch : new int[] {1, 16}) {
      double wide =
          bench.decode(name, shape, new CudaBench.Layout(16, 16, 16), batch, context, null);
      int[][] layouts = {{4, 16, 16}, {4, 8, 16}, {4, 8, 8}, {4, 4, 8}};
      for (int[] l : layouts) {
        bench.decode(name, shape, new CudaBench.Layout(l[0], l[1], l[2]), batch, context, wide);
      }
    }
  }
}
