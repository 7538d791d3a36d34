package io.gracebeam.worker.methods.checkpoint;

/** Element types of safetensors that this reader knows. */
public enum DType {
  BOOL(1),
  U8(1),
  I8(1),
  I16(2),
  F16(2),
  BF16(2),
  I32(4),
  F32(4),
  I64(8),
  F64(8);

  private final int bytes;

  DType(int bytes) {
    this.bytes = bytes;
  }

  /** Bytes per element. */
  public int bytes() {
    return bytes;
  }

  /** Whether the values are floating-point numbers. */
  public boolean floating() {
    return this == F16 || this == BF16 || this == F32 || this == F64;
  }
}
