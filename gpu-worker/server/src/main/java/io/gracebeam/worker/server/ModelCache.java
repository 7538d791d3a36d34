package io.gracebeam.worker.server;

import io.gracebeam.worker.server.WorkMethods.LoadedModel;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * Holds the most recently used models by digest. A model that is evicted while somebody uses it is
 * closed when the last user returns it. Two callers that ask for one model load it once.
 */
final class ModelCache implements AutoCloseable {

  /** Use of a model; close returns it. */
  interface Lease extends AutoCloseable {
    LoadedModel model();

    @Override
    void close();
  }

  private static final class Entry {
    final ReentrantLock loading = new ReentrantLock();
    LoadedModel model;
    int users;
    boolean evicted;
  }

  private final int capacity;
  private final Consumer<String> loaded;
  private final Consumer<String> gone;
  private final LinkedHashMap<String, Entry> entries = new LinkedHashMap<>(16, 0.75f, true);

  /**
   * An empty cache.
   *
   * @param capacity models that stay when nobody uses them
   * @param loaded told the digest of a model that became usable
   * @param gone told the digest of a model that was evicted
   */
  ModelCache(int capacity, Consumer<String> loaded, Consumer<String> gone) {
    this.capacity = capacity;
    this.loaded = loaded;
    this.gone = gone;
  }

  /** Borrows the model with a digest, loading it where it is not held. */
  Lease lease(String digest, Supplier<LoadedModel> loader) {
    Entry entry;
    synchronized (this) {
      entry = entries.computeIfAbsent(digest, key -> new Entry());
      entry.users++;
    }
    evict();
    boolean ready = false;
    entry.loading.lock();
    try {
      if (entry.model == null) {
        entry.model = loader.get();
        loaded.accept(digest);
      }
      ready = true;
    } finally {
      entry.loading.unlock();
      if (!ready) {
        abandon(digest, entry);
      }
    }
    return new Lease() {
      private boolean returned;

      @Override
      public LoadedModel model() {
        return entry.model;
      }

      @Override
      public void close() {
        if (!returned) {
          returned = true;
          release(entry);
        }
      }
    };
  }

  /** Digests of the models that are held, least recently used first. */
  synchronized List<String> held() {
    return List.copyOf(entries.keySet());
  }

  private synchronized void abandon(String digest, Entry entry) {
    entry.users--;
    if (entry.users == 0 && entry.model == null) {
      entries.remove(digest, entry);
    }
  }

  private void release(Entry entry) {
    LoadedModel close = null;
    synchronized (this) {
      entry.users--;
      if (entry.users == 0 && entry.evicted) {
        close = entry.model;
      }
    }
    if (close != null) {
      close.close();
    }
    evict();
  }

  /** Removes idle models beyond the capacity, least recently used first. */
  private void evict() {
    Map<String, Entry> close = new LinkedHashMap<>();
    synchronized (this) {
      Iterator<Map.Entry<String, Entry>> oldest = entries.entrySet().iterator();
      while (entries.size() > capacity && oldest.hasNext()) {
        Map.Entry<String, Entry> next = oldest.next();
        if (next.getValue().users == 0) {
          oldest.remove();
          close.put(next.getKey(), next.getValue());
        }
      }
    }
    close.forEach(
        (digest, entry) -> {
          gone.accept(digest);
          if (entry.model != null) {
            entry.model.close();
          }
        });
  }

  @Override
  public void close() {
    List<LoadedModel> idle = new ArrayList<>();
    synchronized (this) {
      for (Entry entry : entries.values()) {
        if (entry.users > 0) {
          entry.evicted = true;
        } else if (entry.model != null) {
          idle.add(entry.model);
        }
      }
      entries.clear();
    }
    idle.forEach(LoadedModel::close);
  }
}
