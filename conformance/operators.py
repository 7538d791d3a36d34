"""Writes the golden values of the engine's operators from torch: values and gradients, in float32 and bfloat16, on inputs by
formula. The cases are those of OperatorCases.java, by name. Run with conformance/.venv/bin/python."""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

OUT = pathlib.Path(__file__).resolve().parent.parent / "gpu-worker/engine/src/test/resources/golden/operators.json"

CASES = {
    "add": (lambda a, b: a + b, [(2, 3, 5), (5,)]),
    "add_number": (lambda a: a + 1.5, [(7,)]),
    "sub": (lambda a, b: a - b, [(1, 13), (3, 1)]),
    "mul": (lambda a, b: a * b, [(2, 1, 5), (2, 3, 1)]),
    "scale": (lambda a: a * 0.37, [(3, 7)]),
    "div": (lambda a, b: a / b, [(3, 7), (7,)], True),
    "pow": (lambda a: a ** 2.5, [(11,)], True),
    "sqrt": (torch.sqrt, [(3, 5)], True),
    "log": (torch.log, [(3, 5)], True),
    "exp": (torch.exp, [(9,)]),
    "neg": (torch.neg, [(9,)]),
    "abs": (torch.abs, [(9,)]),
    "tanh": (torch.tanh, [(9,)]),
    "square": (torch.square, [(9,)]),
    "maximum": (torch.maximum, [(3, 5), (3, 5)]),
    "clip": (lambda a: a.clamp(-0.5, 0.5), [(11,)]),
    "sigmoid": (torch.sigmoid, [(3, 5)]),
    "silu": (F.silu, [(3, 5)]),
    "gelu": (F.gelu, [(3, 5)]),
    "relu": (F.relu, [(3, 5)]),
    "softmax": (lambda a: a.softmax(-1), [(2, 3, 7)]),
    "softmax_first": (lambda a: a.softmax(0), [(5, 3)]),
    "log_softmax": (lambda a: a.log_softmax(-1), [(3, 7)]),
    "sum_axis": (lambda a: a.sum(1), [(2, 3, 5)]),
    "sum_all": (lambda a: a.sum(), [(2, 3)]),
    "mean_last": (lambda a: a.mean(-1, keepdim=True), [(2, 3, 5)]),
    "cumsum": (lambda a: a.cumsum(1), [(2, 5)]),
    "linear": (F.linear, [(2, 3, 5), (7, 5)]),
    "linear_bias": (F.linear, [(4, 5), (7, 5), (7,)]),
    "linear_one_row": (F.linear, [(1, 33), (3, 33)]),
    "linear_empty": (F.linear, [(0, 5), (7, 5)]),
    "matmul": (torch.matmul, [(3, 5), (5, 2)]),
    "matmul_batch": (torch.matmul, [(2, 2, 3, 5), (2, 2, 5, 3)]),
    "matmul_transposed": (lambda a, b: a @ b.transpose(2, 3), [(2, 2, 3, 5), (2, 2, 4, 5)]),
    "matmul_shared": (torch.matmul, [(1, 4, 6), (3, 6, 2)]),
    "rms_norm": (lambda a, w: F.rms_norm(a, (8,), w, 1e-5), [(2, 3, 8), (8,)]),
    "layer_norm": (lambda a, w, b: F.layer_norm(a, (6,), w, b, 1e-5), [(2, 3, 6), (6,), (6,)]),
    "rows": (lambda a: F.embedding(torch.tensor([3, 0, 3, 1]), a), [(4, 3)]),
    "concat": (lambda a, b: torch.cat([a, b], 1), [(2, 3), (2, 4)]),
    "stack": (lambda a, b: torch.stack([a, b]), [(2, 3), (2, 3)]),
    "slice_last": (lambda a: a[..., 2:], [(2, 3, 5)]),
    "slice_first": (lambda a: a[:, 1:], [(2, 3, 2)]),
    "pick_row": (lambda a: a[1], [(3, 4)]),
    "reshape": (lambda a: a.t().reshape(2, 6), [(4, 3)]),
    "transpose": (lambda a: a.permute(2, 0, 1), [(2, 3, 4)]),
    "broadcast": (lambda a: a.expand(2, 3, 4), [(1, 3, 1)]),
    "expand_dims": (lambda a: a[:, None] * a[None], [(4,)]),
    "repeat": (lambda a: a.repeat_interleave(2, 0), [(2, 3)]),
    "where": (lambda a, b: torch.where(a > 0.2, a, b), [(3, 5), (3, 5)]),
    "attention": (lambda q, k, v: (q @ k.transpose(2, 3)).softmax(-1) @ v, [(1, 2, 5, 4)] * 3),
    "attention_fused": (lambda q, k, v: attention(q, k, v), [(2, 4, 5, 8)] * 3),
    "attention_grouped": (lambda q, k, v: attention(q, k, v), [(2, 4, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8)]),
    "attention_masked": (lambda q, k, v: attention(q, k, v, causal=True), [(1, 2, 5, 4), (1, 2, 7, 4), (1, 2, 7, 4)]),
    "attention_grouped_masked": (lambda q, k, v: attention(q, k, v, causal=True), [(2, 4, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8)]),
    "attention_one_query": (lambda q, k, v: attention(q, k, v), [(1, 2, 1, 8), (1, 2, 9, 8), (1, 2, 9, 8)]),
    "attention_permuted": (
        lambda q, k, v: attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2).reshape(2, 5, 16),
        [(2, 5, 2, 8), (2, 7, 2, 8), (2, 7, 2, 8)],
    ),
    "rotate": (lambda x, c, s: x * c + torch.cat([-x[..., 4:], x[..., :4]], -1) * s, [(1, 2, 3, 8), (3, 8), (3, 8)]),
    "quick_gelu": (lambda x: x * torch.sigmoid(x * 1.702), [(3, 5)]),
    "swiglu": (lambda a, b: F.silu(a) * b, [(3, 5), (3, 5)]),
    "convolution": (lambda x, w: F.conv2d(x, w, stride=3), [(1, 3, 6, 9), (5, 3, 3, 3)]),
    "sub_number": (lambda a: a - 0.25, [(7,)]),
    "minimum": (torch.minimum, [(3, 5), (3, 5)]),
    "sin": (torch.sin, [(9,)]),
    "cos": (torch.cos, [(9,)]),
    "soft_plus": (F.softplus, [(9,)]),
    "soft_sign": (F.softsign, [(9,)]),
    "leaky_relu": (lambda a: F.leaky_relu(a, 0.1), [(9,)]),
    "elu": (F.elu, [(9,)]),
    "selu": (F.selu, [(9,)]),
    "mish": (F.mish, [(9,)]),
    "prod_axis": (lambda a: a.prod(1), [(3, 4)]),
    "max_axis": (lambda a: a.amax(1), [(3, 5)]),
    "min_axis": (lambda a: a.amin(0), [(3, 5)]),
    "sum_axes": (lambda a: a.sum((0, 2), keepdim=True), [(2, 3, 5)]),
    "batch_mat_mul": (torch.bmm, [(2, 3, 5), (2, 5, 4)]),
    "stop_gradient": (lambda a: a * a.detach(), [(7,)]),
    "duplicate": (lambda a: a.clone() * a, [(7,)]),
    "squeeze": (lambda a: a.squeeze(1), [(3, 1, 4)]),
    "flatten": (torch.flatten, [(2, 3, 2)]),
    "tile": (lambda a: a.repeat(2, 3), [(2, 3)]),
    "flip": (lambda a: a.flip(1), [(2, 3)]),
    "split": (lambda a: a.split(2, 1)[1], [(3, 4)]),
    "concat_last": (lambda a, b: torch.cat([b, a, b], -1), [(2, 3), (2, 1)]),
    "softmax_view": (lambda a: a.t().softmax(-1), [(5, 3)]),
    "log_softmax_view": (lambda a: a[:, 1:4].log_softmax(-1), [(3, 7)]),
    "rms_norm_view": (lambda a, w: F.rms_norm(a.transpose(0, 1), (8,), w, 1e-5), [(2, 3, 8), (8,)]),
    "layer_norm_view": (lambda a, w, b: F.layer_norm(a.t(), (6,), w, b, 1e-5), [(6, 3), (6,), (6,)]),
    "linear_view": (lambda a, w: F.linear(a.t(), w[:, 1:6]), [(5, 4), (7, 7)]),
    "linear_wide_view": (lambda a, w: F.linear(a[1:], w.t()), [(3, 2, 5), (5, 7)]),
    "rows_view": (lambda a: F.embedding(torch.tensor([2, 0, 2]), a.t()), [(4, 3)]),
    "concat_views": (lambda a, b: torch.cat([a.t(), b[:, 1:3]], 1), [(2, 3), (3, 4)]),
    "silu_view": (lambda a: F.silu(a[..., 1:]), [(3, 5)]),
    "mul_views": (lambda a, b: a.t() * b[1:], [(3, 4), (5, 3)]),
    "sum_view": (lambda a: a.permute(2, 0, 1).sum(1), [(2, 3, 5)]),
    "overlapping_views": (lambda a: a[1:] + a[:2], [(3, 4)]),
    "add_empty": (lambda a, b: a + b, [(0, 5), (5,)]),
    "mul_empty": (lambda a, b: a * b, [(2, 0, 3), (2, 1, 3)]),
    "softmax_empty": (lambda a: a.softmax(-1), [(0, 7)]),
    "log_softmax_empty": (lambda a: a.log_softmax(-1), [(0, 7)]),
    "rms_norm_empty": (lambda a, w: F.rms_norm(a, (8,), w, 1e-5), [(0, 8), (8,)]),
    "silu_empty": (F.silu, [(0, 5)]),
    "sum_empty": (lambda a: a.sum(0), [(0, 5)]),
    "matmul_empty_inner": (torch.matmul, [(3, 0), (0, 2)]),
    "concat_empty": (lambda a, b: torch.cat([a, b], 0), [(0, 3), (2, 3)]),
    "slice_empty": (lambda a: a[2:2] + 1, [(3, 4)]),
}


def attention(q, k, v, causal=False):
    queries, keys = q.shape[2], k.shape[2]
    mask = torch.full((queries, keys), -1e9).triu(keys - queries + 1).to(q.dtype) if causal else None
    return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=q.shape[1] != k.shape[1])


def run(function, shapes, positive, dtype):
    inputs = []
    for k, shape in enumerate(shapes):
        values = [math.sin(0.7 * i + 1.3 * k) for i in range(math.prod(shape))]
        if positive:
            values = [abs(v) + 0.1 for v in values]
        inputs.append(torch.tensor(values, dtype=torch.float32).to(dtype).reshape(shape).requires_grad_())
    out = function(*inputs)
    weights = torch.tensor([math.cos(0.3 * i) for i in range(out.numel())], dtype=torch.float32).to(dtype).reshape(out.shape)
    (out * weights).sum().backward()
    return [out] + [x.grad for x in inputs]


def goldens():
    torch.set_num_threads(1)
    made = {}
    for dtype in (torch.float32, torch.bfloat16):
        values = {}
        for name, (function, shapes, *positive) in CASES.items():
            for i, tensor in enumerate(run(function, shapes, bool(positive), dtype)):
                values[name if i == 0 else f"{name}/{i - 1}"] = [
                    float(f"{v:.8g}") for v in tensor.detach().float().flatten().tolist()]
        made[str(dtype).removeprefix("torch.")] = values
    return made


if __name__ == "__main__":
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(goldens(), separators=(",", ":")) + "\n")
    print(f"wrote {OUT.name}, torch {torch.__version__}")
