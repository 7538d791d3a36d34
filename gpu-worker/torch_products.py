"""Times torch's int4 (tinygemm) and bfloat16 products on the GPU: torch_products.py OUTPUT.json. Used by gpu-check."""

import json
import sys

import torch

SHAPES = [(32768, 8192), (12288, 4096), (22016, 4096), (4096, 11008), (1536, 8960)]
INPUTS = [1, 2, 4, 8, 16, 32, 64, 256]
GROUP = 128
BEYOND_CACHES = 256 << 20


def seconds(calls, call):
    """Median of five times so many calls, by events."""
    for i in range(calls):
        call(i)
    times = []
    for _ in range(5):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for i in range(calls):
            call(i)
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / 1e3 / calls)
    return sorted(times)[2]


def int4(rows, cols):
    """Packed codes and scales of torch's own int4 layout."""
    codes = torch.randint(0, 256, (rows, cols // 2), dtype=torch.uint8, device="cuda")
    packed = torch.ops.aten._convert_weight_to_int4pack(codes, 8)
    scales = torch.rand(cols // GROUP, rows, 2, device="cuda").bfloat16()
    return packed, scales


def main(out):
    figures = []
    for rows, cols in SHAPES:
        four = [int4(rows, cols) for _ in range(1 + BEYOND_CACHES // (rows * cols // 2))]
        wide = [torch.randn(rows, cols, device="cuda").bfloat16() for _ in range(1 + BEYOND_CACHES // (rows * cols * 2))]
        for m in INPUTS:
            x = torch.randn(m, cols, device="cuda").bfloat16()
            for name, weights, call in (
                ("int4", four, lambda i: torch.ops.aten._weight_int4pack_mm(x, four[i % len(four)][0], GROUP, four[i % len(four)][1])),
                ("bfloat16", wide, lambda i: torch.nn.functional.linear(x, wide[i % len(wide)])),
            ):
                time = seconds(2 * len(weights), call)
                figures.append({"name": f"torch {name}", "rows": rows, "cols": cols, "inputs": m, "seconds": time})
    with open(out, "w") as f:
        json.dump({"version": torch.__version__, "figures": figures}, f)


if __name__ == "__main__":
    main(sys.argv[1])
