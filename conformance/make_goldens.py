"""Writes the golden files of gpu-worker/methods from transformers and Pillow: a tiny random LLaVA checkpoint with its logits
and greedy tokens, and digests of preprocessed images. Run with conformance/.venv/bin/python; needs no network."""

import hashlib
import json
import os
import pathlib
import sys

import numpy as np
import torch
from PIL import Image
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
    (OUT / "forward.json").write_text(json.dumps(forward_goldens(model)))
    (OUT / "images.json").write_text(json.dumps(image_goldens(), indent=0))
    photos = photo_goldens()
    if photos:
        (OUT / "photos.sha256").write_text("\n".join(photos) + "\n")
    print(f"{sum(f.stat().st_size for f in OUT.rglob('*') if f.is_file())} bytes, {len(photos)} photos", file=sys.stderr)


if __name__ == "__main__":
    main()
