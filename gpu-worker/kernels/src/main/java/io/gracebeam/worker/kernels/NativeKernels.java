package io.gracebeam.worker.kernels;

import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * The kernels in C. One call runs at a time, on all threads. No result depends on the instruction
 * set or the number of threads.
 */
final class NativeKernels implements Kernels, AutoCloseable {
  private final NativeSession session;
  private final NativeProducts products;
  private final NativeQuantizer quantizer;
  private final NativeTraining training;
  private final NativeLosses losses;

  /**
   * Kernels with threads of their own, which end with {@link #close}.
   *
   * @param isa instruction set, at most the library's best
   * @param unpacking unpacks weights
   */
  NativeKernels(NativeLibrary library, int isa, int threads, ProductKernels unpacking) {
    this.session = new NativeSession(library, isa, threads);
    this.products = new NativeProducts(session, unpacking);
    this.quantizer = new NativeQuantizer(session);
    this.training = new NativeTraining(session);
    this.losses = new NativeLosses(session);
  }

  @Override
  public String name() {
    return "native";
  }

  @Override
  public String describe() {
    return session.describe();
  }

  /** Every instruction set gives the same bits, and what is left to Java has one result. */
  @Override
  public String identity() {
    return "native " + NativeLibrary.VERSION;
  }

  @Override
  public NativeProducts products() {
    return products;
  }

  @Override
  public NativeQuantizer quantizer() {
    return quantizer;
  }

  @Override
  public NativeTraining training() {
    return training;
  }

  @Override
  public NativeLosses losses() {
    return losses;
  }

  NativeLibrary library() {
    return session.library();
  }

  MemorySegment newDecoder(MemorySegment config, List<MemorySegment> tensors) {
    return session.locked(
        () -> library().newDecoder(session.pool(), session.isa(), config, tensors));
  }

  void freeDecoder(MemorySegment decoder) {
    library().freeDecoder(decoder);
  }

  long decoderBytes(MemorySegment decoder) {
    return library().decoderBytes(decoder);
  }

  void forward(
      MemorySegment decoder,
      int rows,
      MemorySegment slots,
      MemorySegment positions,
      MemorySegment rope,
      MemorySegment x) {
    session.locking(() -> library().forward(decoder, rows, slots, positions, rope, x));
  }

  void logits(MemorySegment decoder, int rows, MemorySegment x, MemorySegment out) {
    session.locking(() -> library().logits(decoder, rows, x, out));
  }

  /** Reads memory as fast as it goes. */
  void read(MemorySegment memory) {
    session.locking(() -> library().read(session.pool(), memory));
  }

  @Override
  public void close() {
    session.close();
    products.close();
    losses.close();
  }
}
