package io.gracebeam.worker.engine;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.engine.EngineException;
import ai.djl.ndarray.types.DataType;
import io.gracebeam.proto.artifact.Digests;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;
import io.gracebeam.worker.engine.libtorch.LibTorchEngine;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Opens engines. The native library is loaded once per process; nothing is downloaded and no usage
 * data are sent. Engine and thread count are fixed by the first {@link #open}: two libtorch builds
 * cannot share a process, and the number of threads may change sums in the last bit and is
 * therefore part of the digest.
 */
public final class Engines {
  /** libtorch through java.lang.foreign: bfloat16, CUDA, any version from 2.10 on; the default. */
  public static final String LIBTORCH = LibTorchEngine.NAME;

  /** DJL's own engine, float32 only. */
  public static final String PYTORCH = "PyTorch";

  private static final String NATIVE_VERSION = "2.7.1";
  private static final Pattern DEVICE = Pattern.compile("cpu|cuda:([0-9]{1,2})");
  private static final Set<String> COMPUTES = Set.of("", "auto", "float32", "bfloat16");

  private static int openedThreads;
  private static String opened;

  private Engines() {}

  /**
   * Opens the engine.
   *
   * @param settings name ("LibTorch" or empty, "PyTorch"), threads (0: all cores), device ("cpu" or
   *     empty, "cuda:N"), compute ("float32", "bfloat16"; "auto" or empty for bfloat16 on a CPU
   *     that has fast products of it, else float32)
   * @throws GraceException USER for a setting out of range, ENVIRONMENT where the native library
   *     cannot be loaded
   */
  public static synchronized EngineHandle open(EngineSettings settings) {
    String name = settings.getName().isEmpty() ? LIBTORCH : settings.getName();
    if (!name.equals(LIBTORCH) && !name.equals(PYTORCH)) {
      throw GraceException.user("engine.name is '%s'; allowed: %s, %s", name, LIBTORCH, PYTORCH);
    }
    if (opened != null && !opened.equals(name)) {
      throw GraceException.user(
          "engine.name is '%s' but this process already runs %s; allowed: the same, or another process",
          name, opened);
    }
    requireCompute(settings.getCompute(), name);
    String deviceName = settings.getDevice().isEmpty() ? "cpu" : settings.getDevice();
    Matcher matcher = DEVICE.matcher(deviceName);
    if (!matcher.matches()) {
      throw GraceException.user("engine.device is '%s'; allowed: cpu, cuda:N", deviceName);
    }
    int threads = threads(settings);
    if (openedThreads != 0 && openedThreads != threads) {
      throw GraceException.user(
          "engine.threads is %d but this process already runs the engine with %d; allowed: the same count, or another process",
          threads, openedThreads);
    }
    Engine engine =
        name.equals(LIBTORCH)
            ? libTorch(threads)
            : pyTorch(threads, deviceName.equals("cpu") ? "cpu" : "cu128");
    openedThreads = threads;
    opened = name;
    Device device =
        matcher.group(1) == null ? Device.cpu() : Device.gpu(Integer.parseInt(matcher.group(1)));
    if (device.isGpu() && engine instanceof LibTorchEngine own) {
      own.requireCuda();
    }
    if (device.isGpu() && device.getDeviceId() >= engine.getGpuCount()) {
      throw GraceException.environment(
          "engine.device is '%s' but the engine sees %d GPUs; allowed: cpu",
          deviceName, engine.getGpuCount());
    }
    engine.setRandomSeed(0);
    DataType compute = compute(settings.getCompute(), engine, device);
    String bits = Fingerprint.of(engine, device, compute);
    String description =
        "%s %s%s %s %s, %d %s%s, bits %s"
            .formatted(
                name,
                engine.getVersion(),
                engine instanceof LibTorchEngine own ? " (" + own.source() + ")" : "",
                deviceName,
                compute.name().toLowerCase(Locale.ROOT),
                threads,
                threads == 1 ? "thread" : "threads",
                engine instanceof LibTorchEngine own
                    ? ", %s, %s"
                        .formatted(
                            own.deterministic() ? "deterministic" : "not deterministic",
                            own.instructions())
                    : "",
                bits);
    String identity =
        String.join(
            "\n",
            description,
            Engine.getDjlVersion(),
            engine instanceof LibTorchEngine own ? Long.toString(own.build()) : "",
            System.getProperty("os.name"),
            System.getProperty("os.arch"));
    return new EngineHandle(
        engine,
        device,
        description,
        Digests.sha256(identity.getBytes(StandardCharsets.UTF_8)),
        threads,
        compute);
  }

  /**
   * Threads that settings ask for.
   *
   * @throws GraceException USER, if they are out of range
   */
  public static int threads(EngineSettings settings) {
    if (settings.getThreads() < 0 || settings.getThreads() > LibTorchEngine.MOST_THREADS) {
      throw GraceException.user(
          "engine.threads is %s; allowed: 0 (all cores) to %d",
          Integer.toUnsignedString(settings.getThreads()), LibTorchEngine.MOST_THREADS);
    }
    return settings.getThreads() == 0
        ? Runtime.getRuntime().availableProcessors()
        : settings.getThreads();
  }

  private static void requireCompute(String wish, String name) {
    if (!COMPUTES.contains(wish)) {
      throw GraceException.user("engine.compute is '%s'; allowed: auto, float32, bfloat16", wish);
    }
    if (wish.equals("bfloat16") && !name.equals(LIBTORCH)) {
      throw GraceException.user(
          "engine.compute is 'bfloat16', which engine.name '%s' lacks; allowed: float32, or engine.name %s",
          name, LIBTORCH);
    }
  }

  private static DataType compute(String wish, Engine engine, Device device) {
    boolean narrow =
        wish.isEmpty() || wish.equals("auto")
            ? engine instanceof LibTorchEngine own && !device.isGpu() && own.fastBfloat16()
            : wish.equals("bfloat16");
    return narrow ? DataType.BFLOAT16 : DataType.FLOAT32;
  }

  private static Engine libTorch(int threads) {
    setIfAbsent("OPT_OUT_TRACKING", "true");
    System.setProperty(LibTorchEngine.THREADS, Integer.toString(threads));
    return Engine.getEngine(LIBTORCH);
  }

  private static Engine pyTorch(int threads, String flavor) {
    setIfAbsent("OPT_OUT_TRACKING", "true");
    setIfAbsent("ai.djl.offline", "true");
    setIfAbsent("PYTORCH_VERSION", NATIVE_VERSION);
    setIfAbsent("PYTORCH_FLAVOR", flavor);
    System.setProperty("ai.djl.pytorch.num_threads", Integer.toString(threads));
    System.setProperty("ai.djl.pytorch.num_interop_threads", "1");
    try {
      return Engine.getEngine(PYTORCH);
    } catch (EngineException | UnsatisfiedLinkError | ExceptionInInitializerError e) {
      throw GraceException.environment(
              "the native library of %s %s for %s could not be loaded (%s); allowed: a machine with its jar on the class path",
              PYTORCH,
              NATIVE_VERSION,
              flavor,
              String.valueOf(e.getMessage()).lines().findFirst().orElse(""))
          .withCause(e);
    }
  }

  private static void setIfAbsent(String key, String value) {
    if (System.getProperty(key) == null) {
      System.setProperty(key, value);
    }
  }
}
