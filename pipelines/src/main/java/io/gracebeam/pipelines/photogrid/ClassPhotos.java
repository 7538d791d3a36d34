package io.gracebeam.pipelines.photogrid;

import io.gracebeam.proto.error.GraceException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Enumeration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * Reads a set of images with one folder per class, from a folder or a zip file. Leading folders
 * that all files share ({@code train/cat/1.jpg}) are passed over. A file that cannot be used
 * becomes a dead letter with its name, and the rest goes on. Nothing is unpacked to disk.
 */
public final class ClassPhotos {
  private ClassPhotos() {}

  /**
   * What is allowed.
   *
   * @param side side of the photos after decoding, in pixels
   * @param perClass photos to take of each class (the first in order of name), 0 for all
   * @param maxFiles most files in the set
   * @param maxFileBytes most bytes of one file, also after unpacking
   * @param maxPixels most pixels of one image
   */
  public record Limits(int side, int perClass, int maxFiles, long maxFileBytes, long maxPixels) {
    /** Generous limits for photos of {@code side} pixels. */
    public static Limits of(int side, int perClass) {
      return new Limits(side, perClass, 2_000_000, 64L << 20, 100_000_000);
    }
  }

  /** Opens one file's bytes, at most {@code limit} + 1 of them. */
  private interface Source {
    byte[] read(int limit) throws IOException;
  }

  /**
   * Reads a set.
   *
   * @throws GraceException DATA where the place is missing, is no folder or zip, or has no photo
   */
  public static PhotoSet read(Path place, Limits limits) {
    if (Files.isDirectory(place)) {
      return readFolder(place, limits);
    }
    if (!Files.isRegularFile(place)) {
      throw GraceException.data("photos: %s is neither a folder nor a zip file", place);
    }
    try (ZipFile zip = new ZipFile(place.toFile())) {
      return readZip(place, zip, limits);
    } catch (IOException e) {
      throw GraceException.data("photos: %s is not a readable zip file: %s", place, e.getMessage());
    }
  }

  private static PhotoSet readFolder(Path root, Limits limits) {
    TreeMap<String, Source> files = new TreeMap<>();
    TreeMap<String, String> bad = new TreeMap<>();
    try (Stream<Path> walk = Files.walk(root)) {
      for (Path file : (Iterable<Path>) walk::iterator) {
        String name = root.relativize(file).toString().replace('\\', '/');
        if (Files.isDirectory(file, LinkOption.NOFOLLOW_LINKS) || hidden(name)) {
          continue;
        }
        if (Files.isSymbolicLink(file) && !inside(root, file)) {
          bad.put(name, "link that is broken or leads outside of the folder");
          continue;
        }
        files.put(
            name,
            limit -> {
              try (InputStream in = Files.newInputStream(file)) {
                return in.readNBytes(limit);
              }
            });
        checkCount(root, files.size(), limits);
      }
    } catch (IOException | java.io.UncheckedIOException e) {
      throw GraceException.data("photos: cannot list %s: %s", root, e.getMessage());
    }
    return decode(root, files, bad, limits);
  }

  private static boolean inside(Path root, Path link) {
    try {
      Path target = link.toRealPath();
      return target.startsWith(root.toRealPath()) && Files.isRegularFile(target);
    } catch (IOException e) {
      return false;
    }
  }

  private static PhotoSet readZip(Path place, ZipFile zip, Limits limits) {
    TreeMap<String, Source> files = new TreeMap<>();
    TreeMap<String, String> bad = new TreeMap<>();
    Enumeration<? extends ZipEntry> entries = zip.entries();
    while (entries.hasMoreElements()) {
      ZipEntry entry = entries.nextElement();
      String name = entry.getName();
      if (entry.isDirectory()) {
        continue;
      }
      if (unsafe(name)) {
        bad.put(name, "path leads outside of the archive");
      } else if (hidden(name)) {
        continue;
      } else if (files.containsKey(name)) {
        bad.put(name + " (second)", "name is in the archive twice");
      } else {
        files.put(
            name,
            limit -> {
              try (InputStream in = zip.getInputStream(entry)) {
                return in.readNBytes(limit);
              }
            });
        checkCount(place, files.size(), limits);
      }
    }
    return decode(place, files, bad, limits);
  }

  private static void checkCount(Path place, int count, Limits limits) {
    if (count > limits.maxFiles()) {
      throw GraceException.data(
          "photos: %s has more than the allowed %d files", place, limits.maxFiles());
    }
  }

  private static boolean unsafe(String name) {
    return name.startsWith("/")
        || name.indexOf('\\') >= 0
        || name.indexOf(':') >= 0
        || name.indexOf('\0') >= 0
        || List.of(name.split("/", -1)).contains("..");
  }

  private static boolean hidden(String name) {
    for (String part : name.split("/", -1)) {
      boolean dots = part.equals("..") || part.equals(".");
      if ((part.startsWith(".") && !dots) || part.equals("__MACOSX") || part.equals("Thumbs.db")) {
        return true;
      }
    }
    return false;
  }

  private static PhotoSet decode(
      Path place, TreeMap<String, Source> files, TreeMap<String, String> bad, Limits limits) {
    int skip = sharedFolders(files);
    Map<String, TreeMap<String, Source>> byClass = new TreeMap<>();
    for (Map.Entry<String, Source> file : files.entrySet()) {
      String[] parts = file.getKey().split("/", -1);
      if (parts.length < skip + 2) {
        bad.put(file.getKey(), "not in a class folder");
      } else {
        byClass
            .computeIfAbsent(parts[skip], c -> new TreeMap<>())
            .put(file.getKey(), file.getValue());
      }
    }
    Map<String, List<PhotoSet.Photo>> good = new LinkedHashMap<>();
    for (Map.Entry<String, TreeMap<String, Source>> entry : byClass.entrySet()) {
      List<PhotoSet.Photo> photos = new ArrayList<>();
      for (Map.Entry<String, Source> file : entry.getValue().entrySet()) {
        if (limits.perClass() > 0 && photos.size() == limits.perClass()) {
          break;
        }
        try {
          photos.add(new PhotoSet.Photo(file.getKey(), good.size(), one(file.getValue(), limits)));
        } catch (IOException e) {
          bad.put(file.getKey(), oneLine(e));
        }
      }
      if (!photos.isEmpty()) {
        good.put(entry.getKey(), photos);
      }
    }
    if (good.isEmpty()) {
      throw GraceException.data(
          "photos: %s has no usable photo in class folders (%d files left out%s)",
          place,
          bad.size(),
          bad.isEmpty() ? "" : ", first: " + bad.firstKey() + ": " + bad.firstEntry().getValue());
    }
    List<PhotoSet.DeadLetter> letters = new ArrayList<>();
    bad.forEach((name, reason) -> letters.add(new PhotoSet.DeadLetter(name, reason)));
    return new PhotoSet(
        limits.side(),
        List.copyOf(good.keySet()),
        good.values().stream().flatMap(List::stream).toList(),
        letters);
  }

  private static byte[] one(Source source, Limits limits) throws IOException {
    int limit = (int) Math.min(Integer.MAX_VALUE - 16, limits.maxFileBytes());
    byte[] bytes = source.read(limit + 1);
    if (bytes.length > limit) {
      throw new IOException("more than the allowed " + limit + " bytes");
    }
    if (bytes.length == 0) {
      throw new IOException("empty file");
    }
    return PhotoDecoder.decode(bytes, limits.side(), limits.maxPixels());
  }

  private static String oneLine(IOException e) {
    String text = e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
    return text.replaceAll("\\s+", " ");
  }

  /** How many leading folders all files share, keeping one level for the classes. */
  private static int sharedFolders(TreeMap<String, Source> files) {
    int skip = 0;
    while (true) {
      TreeSet<String> names = new TreeSet<>();
      for (String name : files.keySet()) {
        String[] parts = name.split("/", -1);
        if (parts.length < skip + 3) {
          return skip;
        }
        names.add(parts[skip]);
      }
      if (names.size() != 1) {
        return skip;
      }
      skip++;
    }
  }
}
