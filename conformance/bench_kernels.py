"""Torch's own products on the CPU, beside those of `grace bench kernels`: bfloat16 linear, and INT4 in groups of 128 with bfloat16
inputs. Arguments: rows, columns, inputs (comma-separated), threads, passes. Prints a line for each: name, inputs, least seconds."""

import sys
import time

import torch


def least(body, passes):
    best = float("inf")
    for _ in range(passes):
        start = time.perf_counter()
        body()
        best = min(best, time.perf_counter() - start)
    return best


def main(rows, cols, inputs, threads, passes):
    rows, cols, passes = int(rows), int(cols), int(passes)
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    dense = torch.randn(rows, cols, dtype=torch.bfloat16)
    codes = torch.randint(0, 16, (rows, cols), dtype=torch.int32)
    packed = torch._convert_weight_to_int4pack_for_cpu(codes, 1)
    scales = torch.rand(cols // 128, rows, 2, dtype=torch.bfloat16)
    for m in (int(v) for v in inputs.split(",")):
        x = torch.randn(m, cols, dtype=torch.bfloat16)
        n = passes if m <= 16 else min(2, passes)
        with torch.inference_mode():
            print("torch-bfloat16", m, least(lambda: torch.nn.functional.linear(x, dense), n))
            print("torch-int4", m, least(lambda: torch._weight_int4pack_mm_for_cpu(x, packed, 128, scales), n))


if __name__ == "__main__":
    main(*sys.argv[1:])
