"""A full GRACE training step as one writes it in plain PyTorch: LSQ with log-scales through autograd, gated decoupled distillation,
relational CKA, AdamW. Shapes are those of TrainBench.java; prints the median seconds of a step. Arguments: shape, dtype, threads,
steps, device (cpu, cuda:N)."""

import math
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

SHAPES = {
    "student": dict(image=64, patch=8, dv=96, lv=4, hv=3, mv=384, vocab=128, d=128, layers=3, heads=2, kv=2, mlp=352, examples=32,
                    micro=16, text=80, supervised=14),
    "qwen2-vl-2b": dict(image=224, patch=14, dv=64, lv=2, hv=2, mv=128, vocab=8192, d=1536, layers=4, heads=12, kv=2, mlp=8960,
                        examples=4, micro=1, text=128, supervised=64),
}
GROUP, QN, QP, TEMPERATURE, ALPHA, BETA_DKD = 32, 8, 7, 2.0, 1.0, 4.0


class RoundStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


class QuantLinear(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / math.sqrt(inputs))
        scale = self.weight.detach().reshape(outputs, -1, GROUP).abs().amax(-1, keepdim=True) / QP
        self.theta = nn.Parameter(scale.clamp_min(1e-8).log())

    def forward(self, x):
        w = self.weight.reshape(self.weight.shape[0], -1, GROUP)
        s = self.theta.exp()
        q = RoundStraightThrough.apply((w / s).clamp(-QN, QP))
        return F.linear(x, (q * s).reshape(self.weight.shape))


class VisionBlock(nn.Module):
    def __init__(self, d, heads, mlp):
        super().__init__()
        self.heads = heads
        self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(d, mlp), nn.Linear(mlp, d)

    def forward(self, x):
        b, s, d = x.shape
        y = self.n1(x)
        q, k, v = (f(y).reshape(b, s, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, s, d))
        y = self.fc1(self.n2(x))
        return x + self.fc2(y * torch.sigmoid(1.702 * y))


class DecoderBlock(nn.Module):
    def __init__(self, d, heads, kv, mlp):
        super().__init__()
        self.heads, self.kv, self.hd = heads, kv, d // heads
        self.n1, self.n2 = nn.RMSNorm(d, 1e-5), nn.RMSNorm(d, 1e-5)
        self.q, self.k, self.v = QuantLinear(d, d), QuantLinear(d, kv * self.hd), QuantLinear(d, kv * self.hd)
        self.o, self.gate, self.up, self.down = QuantLinear(d, d), QuantLinear(d, mlp), QuantLinear(d, mlp), QuantLinear(mlp, d)

    def forward(self, x, cos, sin):
        b, s, d = x.shape
        y = self.n1(x)
        q = self.q(y).reshape(b, s, self.heads, self.hd).transpose(1, 2)
        k, v = (f(y).reshape(b, s, self.kv, self.hd).transpose(1, 2) for f in (self.k, self.v))
        turn = lambda t: t * cos + torch.cat((-t[..., self.hd // 2:], t[..., : self.hd // 2]), -1) * sin
        q, k = turn(q).to(v.dtype), turn(k).to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv)
        x = x + self.o(y.transpose(1, 2).reshape(b, s, d))
        y = self.n2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        n = (c["image"] // c["patch"]) ** 2
        self.patch = nn.Conv2d(3, c["dv"], c["patch"], c["patch"], bias=False)
        self.position = nn.Parameter(0.5 * torch.randn(1, n, c["dv"]))
        self.tower = nn.ModuleList(VisionBlock(c["dv"], c["hv"], c["mv"]) for _ in range(c["lv"] - 1))
        self.project = nn.Sequential(nn.Linear(c["dv"], c["d"]), nn.GELU(), nn.Linear(c["d"], c["d"]))
        self.embed = nn.Embedding(c["vocab"], c["d"])
        self.blocks = nn.ModuleList(DecoderBlock(c["d"], c["heads"], c["kv"], c["mlp"]) for _ in range(c["layers"]))
        self.norm = nn.RMSNorm(c["d"], 1e-5)
        self.head = nn.Linear(c["d"], c["vocab"], bias=False)

    def forward(self, pixels, ids, rows):
        x = self.patch(pixels).flatten(2).transpose(1, 2) + self.position
        for block in self.tower:
            x = block(x)
        x = torch.cat([self.project(x), self.embed(ids)], 1)
        n, s, hd = self.position.shape[1], x.shape[1], self.c["d"] // self.c["heads"]
        position, power = torch.arange(s, device=x.device), torch.arange(0, hd, 2, device=x.device)
        angle = position[:, None] * (10000.0 ** (-power / hd))
        cos, sin = (torch.cat([f(angle)] * 2, -1) for f in (torch.cos, torch.sin))
        visual = None
        for i, block in enumerate(self.blocks):
            if i == len(self.blocks) - 1:
                visual = x[:, :n]
            x = block(x, cos, sin)
        return self.head(self.norm(x[:, rows])), visual


def centered(v):
    k = F.normalize(v.float(), dim=-1)
    k = k @ k.transpose(1, 2)
    return k - k.mean(1, keepdim=True) - k.mean(2, keepdim=True) + k.mean((1, 2), keepdim=True)


def grace_loss(logits, visual, targets, teacher, gram):
    z, t = logits.float().flatten(0, 1), teacher.flatten(0, 1)
    y = targets.flatten()
    ce = F.cross_entropy(z, y)
    p = t.softmax(-1)
    gate = torch.exp((p * p.log()).sum(-1) / math.log(t.shape[-1]))
    mask = F.one_hot(y, t.shape[-1]).bool()
    zt, tt = z / TEMPERATURE, t / TEMPERATURE
    ps, pt = zt.softmax(-1)[mask], tt.softmax(-1)[mask]
    tckd = pt * (pt / ps).log() + (1 - pt) * ((1 - pt) / (1 - ps)).log()
    ls, lt = (v.masked_fill(mask, -1e9).log_softmax(-1) for v in (zt, tt))
    nckd = (lt.exp() * (lt - ls)).sum(-1)
    kd = TEMPERATURE ** 2 * (gate * (ALPHA * tckd + BETA_DKD * nckd)).sum() / gate.sum()
    k = centered(visual)
    cka = (k * gram).sum((1, 2)) / (k.norm(dim=(1, 2)) * gram.norm(dim=(1, 2)))
    return ce + 0.5 * kd + (1 - cka).mean()


def main(name, dtype, threads, steps, device="cpu"):
    torch.set_num_threads(int(threads))
    kind = torch.device(device).type
    finish = torch.cuda.synchronize if kind == "cuda" else lambda: None
    torch.manual_seed(1)
    c = SHAPES[name]
    with torch.device(device):
        model = Model(c)
    decay = [p for n, p in model.named_parameters() if p.dim() > 1 and "theta" not in n]
    rest = [p for n, p in model.named_parameters() if p.dim() <= 1 and "theta" not in n]
    theta = [p for n, p in model.named_parameters() if "theta" in n]
    optimizer = torch.optim.AdamW(
        [dict(params=decay, weight_decay=0.05), dict(params=rest, weight_decay=0.0), dict(params=theta, weight_decay=0.0, lr=1e-3)],
        lr=1e-4, betas=(0.9, 0.95), fused=True)
    n = (c["image"] // c["patch"]) ** 2
    with torch.device(device):
        pixels = torch.randn(c["examples"], 3, c["image"], c["image"])
        ids = torch.randint(4, c["vocab"], (c["examples"], 1 + c["text"]))
        rows = torch.arange(n + 1 + c["text"] - c["supervised"] - 1, n + c["text"])
        targets = ids[:, -c["supervised"]:]
        teacher = torch.randn(c["examples"], c["supervised"], c["vocab"])
        gram = centered(torch.randn(c["examples"], n, 16))

    def step():
        for at in range(0, c["examples"], c["micro"]):
            part = slice(at, at + c["micro"])
            with torch.autocast(kind, torch.bfloat16, enabled=dtype == "bfloat16"):
                logits, visual = model(pixels[part], ids[part], rows)
            loss = grace_loss(logits, visual, targets[part], teacher[part], gram[part])
            (loss * c["micro"] / c["examples"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        return loss.item()

    for _ in range(2):
        step()
    seconds = []
    for _ in range(int(steps)):
        finish()
        start = time.perf_counter()
        loss = step()
        finish()
        seconds.append(time.perf_counter() - start)
    assert math.isfinite(loss)
    print("seconds", sorted(seconds)[len(seconds) // 2])


if __name__ == "__main__":
    main(*sys.argv[1:])
