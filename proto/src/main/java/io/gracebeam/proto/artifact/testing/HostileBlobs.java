package io.gracebeam.proto.artifact.testing;

import io.gracebeam.proto.artifact.BlobStore;
import io.gracebeam.proto.artifact.BlobStoreProvider;
import java.io.ByteArrayInputStream;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Blobs in the memory of this process under {@code hostile://NAME}, with the faults of object
 * stores: latency, calls that fail, replies that are lost after a write took effect, streams that
 * break, listings that lag behind, a second writer, damaged bytes, and a crash of the caller.
 */
public final class HostileBlobs implements BlobStore {
  /** Scheme of its URIs. */
  public static final String SCHEME = "hostile";

  private static final Map<String, HostileBlobs> STORES = new ConcurrentHashMap<>();
  private static final AtomicInteger NUMBER = new AtomicInteger();

  /** The caller's process ends here, as far as the store can see. */
  public static final class Crash extends Error {
    private static final long serialVersionUID = 1L;

    Crash(String where) {
      super("crash at " + where);
    }
  }

  /** Opens stores of this process. */
  public static final class Provider implements BlobStoreProvider {

    /** For the service loader. */
    public Provider() {}

    @Override
    public String scheme() {
      return SCHEME;
    }

    @Override
    public BlobStore open(URI root) throws IOException {
      HostileBlobs store = STORES.get(root.getAuthority());
      if (store == null) {
        throw new NoSuchFileException(root.toString());
      }
      return store;
    }

    /** Short, since the faults end by themselves and no server is to be spared. */
    @Override
    public Duration firstPause() {
      return Duration.ofMillis(1);
    }
  }

  private final URI root;
  private final BlobFaults faults;
  private final Random chance;
  private final LinkedHashMap<String, byte[]> blobs = new LinkedHashMap<>();
  private final Map<String, byte[]> rivals = new HashMap<>();
  private final Map<String, Integer> damaged = new HashMap<>();
  private int calls;
  private int crashAt = Integer.MAX_VALUE;

  private HostileBlobs(URI root, BlobFaults faults) {
    this.root = root;
    this.faults = faults;
    this.chance = new Random(faults.seed());
  }

  /** A new empty store, found by its {@link #root} for as long as this process lives. */
  public static HostileBlobs create(BlobFaults faults) {
    String name = "store-" + NUMBER.incrementAndGet();
    HostileBlobs store = new HostileBlobs(URI.create(SCHEME + "://" + name), faults);
    STORES.put(name, store);
    return store;
  }

  /** Its URI. */
  public URI root() {
    return root;
  }

  /** A second writer creates this blob just before somebody else tries to. */
  public synchronized HostileBlobs rival(String name, byte[] content) {
    rivals.put(name, content);
    return this;
  }

  /** The next so many reads of a blob give a wrong byte. */
  public synchronized HostileBlobs damage(String name, int reads) {
    damaged.put(name, reads);
    return this;
  }

  /** Removes a blob, as a person might. */
  public synchronized void delete(String name) {
    blobs.remove(name);
  }

  /** The caller crashes in its n-th call from now on, counted from 1; writes may have happened. */
  public synchronized void crashIn(int n) {
    crashAt = calls + n;
  }

  /** The caller's successor does not crash. */
  public synchronized void recover() {
    crashAt = Integer.MAX_VALUE;
  }

  /** Calls so far. */
  public synchronized int calls() {
    return calls;
  }

  /** Names of all blobs. */
  public synchronized List<String> names() {
    return blobs.keySet().stream().sorted().toList();
  }

  /** Content of a blob. */
  public synchronized byte[] content(String name) {
    return blobs.get(name).clone();
  }

  @Override
  public InputStream open(String name, long offset, long length) throws IOException {
    enter(name);
    synchronized (this) {
      byte[] bytes = blobs.get(name);
      if (bytes == null) {
        throw new NoSuchFileException(name);
      }
      if (offset > bytes.length) {
        throw new IOException("range of " + name + " cannot be satisfied");
      }
      byte[] given = bytes;
      if (damaged.merge(name, -1, Integer::sum) >= 0 && bytes.length > 0) {
        given = bytes.clone();
        given[0] ^= 1;
      }
      int rest = (int) Math.min(length, given.length - offset);
      InputStream in = new ByteArrayInputStream(given, (int) offset, rest);
      return chance.nextDouble() < faults.brokenStreams() ? new Broken(in, rest / 2) : in;
    }
  }

  @Override
  public OptionalLong size(String name) throws IOException {
    enter(name);
    synchronized (this) {
      byte[] bytes = blobs.get(name);
      return bytes == null ? OptionalLong.empty() : OptionalLong.of(bytes.length);
    }
  }

  @Override
  public boolean createIfAbsent(String name, Path content) throws IOException {
    byte[] bytes = Files.readAllBytes(content);
    boolean dies = enter(name);
    synchronized (this) {
      byte[] rival = rivals.remove(name);
      if (rival != null) {
        blobs.putIfAbsent(name, rival);
      }
      boolean created = blobs.putIfAbsent(name, bytes) == null;
      if (dies) {
        throw new Crash("creation of " + name);
      }
      if (chance.nextDouble() < faults.lostReplies()) {
        throw new IOException("the reply about " + name + " was lost");
      }
      return created;
    }
  }

  @Override
  public List<String> list(String prefix) throws IOException {
    enter(prefix);
    synchronized (this) {
      List<String> seen = new ArrayList<>(blobs.keySet());
      return seen.subList(0, Math.max(0, seen.size() - faults.unlisted())).stream()
          .filter(name -> name.startsWith(prefix))
          .sorted()
          .toList();
    }
  }

  /** Counts a call; true if the caller crashes in it after it took effect. */
  private boolean enter(String name) throws IOException {
    if (faults.latencyMillis() > 0) {
      try {
        Thread.sleep(faults.latencyMillis());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    synchronized (this) {
      calls++;
      if (calls >= crashAt) {
        if (calls == crashAt && chance.nextBoolean()) {
          return true;
        }
        throw new Crash(name);
      }
      if (chance.nextDouble() < faults.failed()) {
        throw new IOException("the store is busy");
      }
      return false;
    }
  }

  /** A stream that ends with an error after some bytes. */
  private static final class Broken extends FilterInputStream {
    private int left;

    Broken(InputStream in, int bytes) {
      super(in);
      this.left = bytes;
    }

    @Override
    public int read() throws IOException {
      if (left-- <= 0) {
        throw new IOException("the connection was reset");
      }
      return super.read();
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
      if (left <= 0) {
        throw new IOException("the connection was reset");
      }
      int read = super.read(bytes, offset, Math.min(length, left));
      left -= read;
      return read;
    }
  }
}
