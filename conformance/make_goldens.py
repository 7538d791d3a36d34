"""Writes the golden files of gpu-worker/methods from transformers, torch and Pillow: a tiny random LLaVA checkpoint with its logits
and greedy tokens, twenty steps of its training, and digests of preprocessed images. Run with conformance/.venv/bin/python; needs no network."""

import hashlib
import json
import math
import os
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.nn.utils import parametrize
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.clip import CLIPImageProcessorPil

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "gpu-worker/methods/src/test/resources/goldens"
PHOTOS = pathlib.Path(os.environ.get("GRACE_PHOTOS", ROOT.parent / "shared/data/photos"))


def tiny_model():
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=14,
        projection_dim=32, hidden_act="quick_gelu")
    text = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=5, image_seq_length=4, vision_feature_layer=-2,
        vision_feature_select_strategy="default", tie_word_embeddings=False)
    torch.manual_seed(20)
    model = LlavaForConditionalGeneration(config).eval().float()
    generator = torch.Generator().manual_seed(21)
    with torch.no_grad():
        for name, value in sorted(model.named_parameters()):
            noise = torch.randn(value.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                value.copy_(1 + 0.2 * noise)
            elif value.dim() >= 2:
                value.copy_(noise * (1.2 / (value[0].numel() ** 0.5)))
            else:
                value.copy_(0.1 * noise)
        # Padding, end and image tokens are never the best one, so that 32 tokens come.
        model.lm_head.weight[[0, 2, 5]] = 0
    return model


def forward_goldens(model):
    generator = torch.Generator().manual_seed(22)
    pixels = torch.randn(2, 3, 28, 28, generator=generator)
    ids = [[1, 9, 5, 5, 5, 5, 10, 11, 12, 13, 14], [1, 20, 21, 5, 5, 5, 5, 30, 31]]
    cases = []
    with torch.no_grad():
        for i, row in enumerate(ids):
            result = model(
                input_ids=torch.tensor([row]), pixel_values=pixels[i:i + 1], output_hidden_states=True)
            tokens = model.generate(
                input_ids=torch.tensor([row]), pixel_values=pixels[i:i + 1], attention_mask=torch.ones(1, len(row)).long(),
                max_new_tokens=32, do_sample=False)[0, len(row):]
            assert len(tokens) == 32
            at = [j for j, token in enumerate(row) if token == 5]
            cases.append({
                "ids": row,
                "pixels": pixels[i].flatten().tolist(),
                "logits": result.logits[0].flatten().tolist(),
                "visual_states": result.hidden_states[-2][0, at].flatten().tolist(),
                "greedy": tokens.tolist(),
            })
    return cases


QN, QP, GROUP, TEMPERATURE, BETA, BETA_DKD = 8, 7, 16, 2.0, 0.5, 4.0
STEPS, RATE, SCALE_RATE, DECAY, CLIP, WARMUP = 20, 3e-4, 10.0, 0.05, 12.0, 2


class FakeQuantized(torch.nn.Module):
    """LSQ with log-scales: s clip(round(w / s)), where rounding passes the gradient unchanged."""

    def __init__(self, weight):
        super().__init__()
        w = weight.detach().reshape(-1, GROUP)
        ratios = torch.linspace(0.3, 1.2, 20, dtype=torch.float64)
        scales = (ratios * w.double().abs().amax(1, keepdim=True) / QP).float().double()
        errors = [((s * (w.double() / s).round().clamp(-QN, QP) - w) ** 2).sum(1) for s in scales.T.unsqueeze(2)]
        best = torch.stack(errors).argmin(0)
        theta = scales.gather(1, best[:, None]).log().float()
        self.theta = torch.nn.Parameter(theta.to(weight.dtype))

    def forward(self, weight):
        s = self.theta.exp()
        u = weight.reshape(-1, GROUP) / s
        self.margin = (u.detach()[u.detach().abs() < QN + 0.5].abs() % 1 - 0.5).abs().min().item()
        rounded = u + (u.round() - u).detach()
        return (s * rounded.clamp(-QN, QP)).reshape(weight.shape)


def canonical(name):
    """The project's name of a parameter."""
    name = name.replace(".parametrizations.weight.original", ".weight").removeprefix("model.")
    theta = name.endswith(".parametrizations.weight.0.theta")
    name = name.replace(".parametrizations.weight.0.theta", ".weight")
    name = name.replace("language_model.", "language_model.model.").replace("lm_head", "language_model.lm_head")
    if "vision_tower." in name and "vision_model." not in name:
        name = name.replace("vision_tower.", "vision_tower.vision_model.")
    return ("theta." if theta else "") + name


def is_idle(name):
    """Adds the same to all scores of a query: it has no gradient but rounding."""
    return "vision_tower" in name and name.endswith("k_proj.bias")


def centered(v):
    u = v / v.norm(dim=1, keepdim=True)
    k = u @ u.T
    return k - k.mean(0, keepdim=True) - k.mean(1, keepdim=True) + k.mean()


def gated_dkd(logits, teacher, targets):
    """GRACE, arXiv 2601.22709, equations 1 to 12; the gate's entropy is at temperature 1."""
    hot = F.one_hot(targets, logits.shape[1]).bool()
    entropy = -(teacher.softmax(1) * teacher.log_softmax(1)).sum(1)
    gate = torch.exp(-entropy / math.log(logits.shape[1]))
    lp, lq = (z.div(TEMPERATURE).log_softmax(1) for z in (logits, teacher))
    rest = lambda l: l.masked_fill(hot, -math.inf).logsumexp(1)
    tckd = lq[hot].exp() * (lq[hot] - lp[hot]) + rest(lq).exp() * (rest(lq) - rest(lp))
    q = (lq - rest(lq)[:, None]).exp().masked_fill(hot, 0)
    nckd = (q * ((lq - rest(lq)[:, None]) - (lp - rest(lp)[:, None]))).sum(1)
    return (gate * TEMPERATURE ** 2 * (tckd + BETA_DKD * nckd)).sum() / gate.sum()


def training_goldens(model, cases, seed=11585):
    """Full GRACE steps in double precision, all parameters trained; the batch is the cases of the forward pass. The seed is one with
    which float32 decides nothing: no weight comes near to the middle between two codes (margin, in codes), and none has so small a
    gradient beside its tensor's others (weakest, over their root mean square) that rounding would turn AdamW's first step around."""
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for case in cases:
        first = max(i for i, token in enumerate(case["ids"]) if token == 5) + 1
        rows = list(range(first, len(case["ids"]) - 1))
        examples.append({
            "rows": rows, "teacher": torch.randn(len(rows), 64, generator=generator).mul(2),
            "gram": centered(torch.randn(4, 6, generator=generator).double()).float()})
    for layer in model.model.language_model.layers:
        for linear in (*(getattr(layer.self_attn, f"{n}_proj") for n in "qkvo"),
                       *(getattr(layer.mlp, f"{n}_proj") for n in ("gate", "up", "down"))):
            parametrize.register_parametrization(linear, "weight", FakeQuantized(linear.weight))
    model.double()
    named = {canonical(name): value for name, value in model.named_parameters()}
    start = {name: value.detach().clone() for name, value in named.items()}
    thetas = [v for n, v in named.items() if n.startswith("theta.")]
    weights = [(v.dim() > 1, v) for n, v in named.items() if not n.startswith("theta.")]
    optimizer = torch.optim.AdamW([
        {"params": [v for matrix, v in weights if matrix], "weight_decay": DECAY, "factor": 1.0},
        {"params": [v for matrix, v in weights if not matrix], "weight_decay": 0.0, "factor": 1.0},
        {"params": thetas, "weight_decay": 0.0, "factor": SCALE_RATE}], betas=(0.9, 0.95), eps=1e-8)
    curve = []
    margin = weakest = 1.0
    for step in range(STEPS):
        x = (step - WARMUP) / (STEPS - WARMUP)
        rate = RATE * ((step + 1) / WARMUP if step < WARMUP else 0.5 * (1 + math.cos(math.pi * x)))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        optimizer.zero_grad()
        logits, targets, relations = [], [], []
        for case, e in zip(cases, examples):
            ids = torch.tensor([case["ids"]])
            pixels = torch.tensor(case["pixels"], dtype=torch.float64).reshape(1, 3, 28, 28)
            out = model(input_ids=ids, pixel_values=pixels, output_hidden_states=True)
            logits.append(out.logits[0, e["rows"]])
            targets.append(ids[0, [i + 1 for i in e["rows"]]])
            a, b = e["gram"].double(), centered(out.hidden_states[-2][0, ids[0] == 5])
            relations.append(1 - (a * b).sum() / a.norm() / b.norm())
        logits, targets = torch.cat(logits), torch.cat(targets)
        ce = F.cross_entropy(logits, targets)
        gdkd = gated_dkd(logits, torch.cat([e["teacher"] for e in examples]).double(), targets)
        rcka = sum(relations) / len(relations)
        (ce + BETA * gdkd + rcka).backward()
        norm = torch.nn.utils.clip_grad_norm_([v for v in named.values() if v.grad is not None], CLIP).item()
        curve.append({"ce": ce.item(), "gdkd": gdkd.item(), "rcka": rcka.item(), "norm": norm})
        optimizer.step()
        if step == 0:
            for name, value in named.items():
                if value.grad is not None and not is_idle(name):
                    sizes = value.grad[value.grad != 0].abs()
                    weakest = min(weakest, (sizes.min() / sizes.square().mean().sqrt()).item())
        margin = min([margin] + [m.margin for m in model.modules() if isinstance(m, FakeQuantized)])
    tensors = {}
    for name, value in sorted(named.items()):
        flat = value.detach().flatten()
        at = sorted({int(i) for i in np.linspace(0, flat.numel() - 1, 9)})
        if value.grad is not None:
            tensors[name] = {
                "moved": (value.detach() - start[name]).norm().item(), "at": at, "values": [flat[i].item() for i in at]}
    return {
        "margin": margin, "weakest": weakest, "curve": curve, "tensors": tensors,
        "examples": [{"rows": e["rows"], "teacher": e["teacher"].flatten().tolist(), "gram": e["gram"].flatten().tolist()}
                     for e in examples]}


def synthetic():
    rng = np.random.default_rng(23)
    yield "noise-37x53.png", Image.fromarray(rng.integers(0, 256, (53, 37, 3), dtype=np.uint8))
    yield "noise-400x90.png", Image.fromarray(rng.integers(0, 256, (90, 400, 3), dtype=np.uint8))
    y, x = np.mgrid[0:64, 0:64]
    gradient = np.stack([x * 4, y * 4, (x + y) * 2], -1).astype(np.uint8)
    yield "gradient-64x64.png", Image.fromarray(gradient)
    yield "gray-45x31.png", Image.fromarray(rng.integers(0, 256, (31, 45), dtype=np.uint8))
    yield "gray-80x60.jpg", Image.fromarray((y[:60, :] * 3).repeat(2, 1)[:, :80].astype(np.uint8))
    yield "rgba-30x40.png", Image.fromarray(rng.integers(0, 256, (40, 30, 4), dtype=np.uint8))
    yield "palette-50x50.png", Image.fromarray(gradient[:50, :50]).quantize(32)
    yield "black-white-33x29.png", Image.fromarray((rng.integers(0, 2, (29, 33)) * 255).astype(np.uint8)).convert("1")
    yield "exact-32x48.png", Image.fromarray(rng.integers(0, 256, (48, 32, 3), dtype=np.uint8))
    yield "one-1x1.png", Image.fromarray(np.array([[[7, 80, 200]]], dtype=np.uint8))


def processed(image, size):
    """Digest of the 8-bit pixels [size, size, 3], and the processor's float32 values [3, size, size]."""
    image = image.convert("RGB")
    raw = CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, do_rescale=False, do_normalize=False)
    full = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    bytes_ = np.asarray(raw(image, return_tensors="np")["pixel_values"][0]).astype(np.uint8).transpose(1, 2, 0)
    values = np.asarray(full(image, return_tensors="np")["pixel_values"][0], dtype=np.float32)
    return hashlib.sha256(bytes_.tobytes()).hexdigest(), values


def image_goldens():
    out = []
    folder = OUT / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in synthetic():
        image.save(folder / name)
        for size in (28, 32, 56):
            digest, values = processed(Image.open(folder / name), size)
            flat = values.flatten()
            at = [int(i) for i in np.linspace(0, flat.size - 1, 7)]
            out.append({
                "file": name, "size": size, "sha256": digest,
                "float_sha256": hashlib.sha256(values.astype("<f4").tobytes()).hexdigest(),
                "at": at, "values": [float(flat[i]) for i in at]})
    return out


def photo_goldens():
    lines = []
    for path in sorted(PHOTOS.iterdir()) if PHOTOS.is_dir() else []:
        if path.suffix.lower() in (".jpeg", ".jpg", ".png"):
            image = Image.open(path)
            decoded = hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).hexdigest()
            lines.append(f"{processed(image, 336)[0]} {decoded} {path.name}")
    return lines


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    model = tiny_model()
    model.save_pretrained(OUT / "tiny-llava")
    cases = forward_goldens(model)
    (OUT / "forward.json").write_text(json.dumps(cases))
    (OUT / "training.json").write_text(json.dumps(training_goldens(model, cases)))
    (OUT / "images.json").write_text(json.dumps(image_goldens(), indent=0))
    photos = photo_goldens()
    if photos:
        (OUT / "photos.sha256").write_text("\n".join(photos) + "\n")
    print(f"{sum(f.stat().st_size for f in OUT.rglob('*') if f.is_file())} bytes, {len(photos)} photos", file=sys.stderr)


if __name__ == "__main__":
    main()
