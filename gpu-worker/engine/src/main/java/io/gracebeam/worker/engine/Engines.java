package io.gracebeam.worker.engine;

import ai.djl.Device;
import ai.djl.engine.Engine;
import ai.djl.engine.EngineException;
import io.gracebeam.proto.error.GraceException;
import io.gracebeam.proto.v1.EngineSettings;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Opens engines. The native library is loaded once per process from the jars on the class path;
 * nothing is downloaded and no usage data are sent. The thread count is fixed by the first {@link
 * #open}; a later one with another count is refused, since the number of threads may change sums in
 * the last bit and is therefore part of the digest.
 */
public final class Engines {
  private static final String NAME = "PyTorch";
  private static final String NATIVE_VERSION = "2.7.1";
  private static final Pattern DEVICE = Pattern.compile("cpu|cuda:([0-9]{1,2})");
  private static final int MAX_THREADS = 1024;

  private static int openedThreads;

  private Engines() {}

  /**
   * Opens the engine.
   *
   * @param settings name ("PyTorch" or empty), threads (0: all cores), device ("cpu" or empty,
   *     "cuda:N")
   * @throws GraceException USER for a setting out of range, ENVIRONMENT where the native library
   *     cannot be loaded
   */
  public static synchronized EngineHandle open(EngineSettings settings) {
    String name = settings.getName().isEmpty() ? NAME : settings.getName();
    if (!name.equals(NAME)) {
      throw GraceException.user("engine.name is '%s'; allowed: %s", name, NAME);
    }
    String deviceName = settings.getDevice().isEmpty() ? "cpu" : settings.getDevice();
    Matcher matcher = DEVICE.matcher(deviceName);
    if (!matcher.matches()) {
      throw GraceException.user("engine.device is '%s'; allowed: cpu, cuda:N", deviceName);
    }
    if (settings.getThreads() < 0 || settings.getThreads() > MAX_THREADS) {
      throw GraceException.user(
          "engine.threads is %s; allowed: 0 (all cores) to %d",
          Integer.toUnsignedString(settings.getThreads()), MAX_THREADS);
    }
    int threads =
        settings.getThreads() == 0
            ? Runtime.getRuntime().availableProcessors()
            : settings.getThreads();
    if (openedThreads != 0 && openedThreads != threads) {
      throw GraceException.user(
          "engine.threads is %d but this process already runs the engine with %d; allowed: the same count, or another process",
          threads, openedThreads);
    }
    Engine engine = load(threads, deviceName.equals("cpu") ? "cpu" : "cu128");
    openedThreads = threads;
    Device device =
        matcher.group(1) == null ? Device.cpu() : Device.gpu(Integer.parseInt(matcher.group(1)));
    if (device.isGpu() && device.getDeviceId() >= engine.getGpuCount()) {
      throw GraceException.environment(
          "engine.device is '%s' but the engine sees %d GPUs; allowed: cpu",
          deviceName, engine.getGpuCount());
    }
    engine.setRandomSeed(0);
    String description =
        "%s %s %s, %d %s"
            .formatted(
                NAME,
                engine.getVersion(),
                deviceName,
                threads,
                threads == 1 ? "thread" : "threads");
    String identity =
        String.join(
            "\n",
            description,
            Engine.getDjlVersion(),
            System.getProperty("os.name"),
            System.getProperty("os.arch"));
    return new EngineHandle(engine, device, description, sha256(identity), threads);
  }

  private static Engine load(int threads, String flavor) {
    setIfAbsent("OPT_OUT_TRACKING", "true");
    setIfAbsent("ai.djl.offline", "true");
    setIfAbsent("PYTORCH_VERSION", NATIVE_VERSION);
    setIfAbsent("PYTORCH_FLAVOR", flavor);
    System.setProperty("ai.djl.pytorch.num_threads", Integer.toString(threads));
    System.setProperty("ai.djl.pytorch.num_interop_threads", "1");
    try {
      return Engine.getEngine(NAME);
    } catch (EngineException | UnsatisfiedLinkError | ExceptionInInitializerError e) {
      throw GraceException.environment(
              "the native library of %s %s for %s could not be loaded (%s); allowed: a machine with its jar on the class path",
              NAME,
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

  private static String sha256(String text) {
    try {
      return HexFormat.of()
          .formatHex(
              MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8)));
    } catch (NoSuchAlgorithmException e) {
      throw GraceException.bug("SHA-256 is missing from this Java run time").withCause(e);
    }
  }
}
