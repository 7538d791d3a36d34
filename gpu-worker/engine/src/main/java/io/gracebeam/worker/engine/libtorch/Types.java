package io.gracebeam.worker.engine.libtorch;

import ai.djl.ndarray.types.DataType;

/** DJL's data types and torch's ScalarType numbers. */
final class Types {
  private Types() {}

  /** Torch's number of a type; UnsupportedOperationException where torch has none. */
  static int torch(DataType type) {
    return switch (type) {
      case UINT8 -> 0;
      case INT8 -> 1;
      case INT16 -> 2;
      case INT32 -> 3;
      case INT64 -> 4;
      case FLOAT16 -> 5;
      case FLOAT32 -> 6;
      case FLOAT64 -> 7;
      case COMPLEX64 -> 9;
      case BOOLEAN -> 11;
      case BFLOAT16 -> 15;
      case UINT16 -> 27;
      case UINT32 -> 28;
      case UINT64 -> 29;
      case UNKNOWN, STRING ->
          throw new UnsupportedOperationException("LibTorch has no arrays of type " + type);
    };
  }

  /** DJL's type of one of torch's numbers; UNKNOWN where DJL has none. */
  static DataType djl(int torch) {
    return switch (torch) {
      case 0 -> DataType.UINT8;
      case 1 -> DataType.INT8;
      case 2 -> DataType.INT16;
      case 3 -> DataType.INT32;
      case 4 -> DataType.INT64;
      case 5 -> DataType.FLOAT16;
      case 6 -> DataType.FLOAT32;
      case 7 -> DataType.FLOAT64;
      case 9 -> DataType.COMPLEX64;
      case 11 -> DataType.BOOLEAN;
      case 15 -> DataType.BFLOAT16;
      case 27 -> DataType.UINT16;
      case 28 -> DataType.UINT32;
      case 29 -> DataType.UINT64;
      default -> DataType.UNKNOWN;
    };
  }
}
