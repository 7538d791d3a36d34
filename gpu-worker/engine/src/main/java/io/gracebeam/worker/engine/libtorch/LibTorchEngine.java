package io.gracebeam.worker.engine.libtorch;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.engine.Engine;
import ai.djl.ndarray.NDManager;
import ai.djl.training.GradientCollector;
import io.gracebeam.proto.error.GraceException;
import java.util.Locale;
import java.util.Map;

/**
 * DJL's engine named LibTorch: arrays, operators and gradients of whatever libtorch from 2.10 on is
 * at hand, in float32, bfloat16 and the other types, on the CPU or a CUDA device.
 *
 * <p>Settings, read when the engine is first used: environment variable GRACE_LIBTORCH (folder of
 * the libraries; default those on the class path); system properties {@code grace.libtorch} (the
 * same), {@code grace.libtorch.threads} (threads inside an operator; default the cores) and {@code
 * grace.libtorch.deterministic} (default true: an operator gives the same bits each time, on CUDA
 * too, and one that cannot fails).
 */
public final class LibTorchEngine extends Engine {
  /** Name by which DJL knows the engine. */
  public static final String NAME = "LibTorch";

  /** System property: threads inside an operator, read when the engine is first used. */
  public static final String THREADS = "grace.libtorch.threads";

  /** System property: whether operators must be deterministic; true by default. */
  public static final String DETERMINISTIC = "grace.libtorch.deterministic";

  /** Most threads inside an operator that can be asked for. */
  public static final int MOST_THREADS = 1024;

  static final int RANK = 3;
  private static final String CUDA = "libtorch_cuda.so";

  private final String version;
  private final boolean deterministic;
  private boolean cuda;

  LibTorchEngine() {
    int count = threads(System.getProperty(THREADS));
    deterministic = deterministic(System.getProperty(DETERMINISTIC));
    version = Abi.version();
    Abi.readLogLevel();
    Abi.setThreads(count);
    Abi.setDeterministic(deterministic);
    OwnProducts.install(count);
  }

  private static int threads(String given) {
    if (given == null) {
      return Runtime.getRuntime().availableProcessors();
    }
    int count = given.matches("[0-9]{1,9}") ? Integer.parseInt(given) : 0;
    if (count < 1 || count > MOST_THREADS) {
      throw GraceException.user("%s is '%s'; allowed: 1 to %d", THREADS, given, MOST_THREADS);
    }
    return count;
  }

  private static boolean deterministic(String given) {
    if (given == null || given.equals("true") || given.equals("false")) {
      return !"false".equals(given);
    }
    throw GraceException.user("%s is '%s'; allowed: true, false", DETERMINISTIC, given);
  }

  /** Whether operators give the same bits each time; see {@link #DETERMINISTIC}. */
  public boolean deterministic() {
    return deterministic;
  }

  /** Where the libraries came from: "jar" or the variable that names them. */
  public String source() {
    return Natives.load().source();
  }

  /** Tells builds of one version apart, by the size of their main library in bytes. */
  public long build() {
    return Natives.size();
  }

  /** Instruction set that the CPU operators use, by oneDNN's name; part of what decides bits. */
  public String instructions() {
    String limit = System.getenv("ONEDNN_MAX_CPU_ISA");
    String torch = limit == null ? Processor.here().toString() : limit.toLowerCase(Locale.ROOT);
    if (!ownKernels()) {
      return torch;
    }
    String own = OwnProducts.installed() ? "products and blocks" : "blocks";
    return torch + ", own bfloat16 " + own + " on " + OwnProducts.unit();
  }

  /**
   * Whether {@link MatrixProducts} and the kernels beside them can be used here: not where this
   * machine cannot do them, or the property {@code grace.libtorch.products} is torch.
   */
  public static boolean ownKernels() {
    return OwnProducts.started();
  }

  /** Environment variables that other processes with a libtorch want on this machine. */
  public static Map<String, String> settings() {
    return Processor.here().settings();
  }

  /**
   * Whether bfloat16 products run on instructions of their own here, libtorch's or ours; slower
   * than float32 if not.
   */
  public boolean fastBfloat16() {
    return Processor.here().bfloat16() || ownKernels();
  }

  /**
   * Loads the CUDA operators. To be called before the first operator of a process that will use
   * them: torch finds devices once.
   *
   * @throws GraceException ENVIRONMENT where the libraries were built without CUDA
   */
  public synchronized void requireCuda() {
    if (cuda) {
      return;
    }
    if (!Natives.has(CUDA)) {
      throw GraceException.environment(
          "LibTorch: a CUDA device was asked for, but %s has no %s; allowed: cpu, or %s naming the"
              + " lib folder of a torch with CUDA",
          Natives.load().folder(), CUDA, Natives.VARIABLE);
    }
    Natives.more(CUDA);
    cuda = true;
  }

  @Override
  public Engine getAlternativeEngine() {
    return null;
  }

  @Override
  public String getEngineName() {
    return NAME;
  }

  @Override
  public int getRank() {
    return RANK;
  }

  @Override
  public String getVersion() {
    return version;
  }

  @Override
  public boolean hasCapability(String capability) {
    return false;
  }

  /**
   * CUDA devices that torch can use, in its numbering; 0 where the libraries were built without
   * CUDA. Loads the CUDA operators.
   */
  @Override
  public int getGpuCount() {
    if (!Natives.has(CUDA)) {
      return 0;
    }
    requireCuda();
    return Abi.devices();
  }

  @Override
  public Model newModel(String name, Device device) {
    return new LibTorchModel(name, newBaseManager(device));
  }

  @Override
  public NDManager newBaseManager() {
    return newBaseManager(null);
  }

  @Override
  public LibTorchManager newBaseManager(Device device) {
    return LibTorchManager.SYSTEM.newSubManager(device == null ? Device.cpu() : device);
  }

  @Override
  public GradientCollector newGradientCollector() {
    return new LibTorchGradientCollector();
  }

  /** Sets the seed of the generators behind {@code randomUniform} and similar operators. */
  @Override
  public void setRandomSeed(int seed) {
    super.setRandomSeed(seed);
    LibTorchManager.seed(seed);
  }
}
