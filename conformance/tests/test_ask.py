"""A checkpoint that transformers wrote, asked through ./grace, gives transformers' own greedy tokens."""

import json
import pathlib
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUESTION = "what is at the top left?"


def ask(model: pathlib.Path, image: pathlib.Path, tokens: int = 16) -> dict:
    out = subprocess.run(
        [ROOT / "grace", "ask", "--json", "--max-new-tokens", str(tokens), "--model", model, "--image", image, QUESTION],
        check=True, capture_output=True, text=True)
    return json.loads(out.stdout.strip().splitlines()[-1])


def reference(model: pathlib.Path, image: pathlib.Path, tokens: int = 16):
    """Token ids and log-probabilities by transformers; compressed-tensors folders are decompressed by it."""
    from tokenizers import Tokenizer
    from transformers import CLIPImageProcessorPil, LlavaForConditionalGeneration

    net = LlavaForConditionalGeneration.from_pretrained(model, torch_dtype=torch.float32).eval()
    tok = Tokenizer.from_file(str(model / "tokenizer.json"))
    config = json.loads((model / "config.json").read_text())
    image_token = config.get("image_token_index", config.get("image_token_id"))
    pixels = CLIPImageProcessorPil.from_pretrained(model)(Image.open(image).convert("RGB"), return_tensors="pt")
    n = net.config.image_seq_length
    ids = []
    for t in tok.encode(f"USER: <image>\n{QUESTION} ASSISTANT:").ids:
        ids.extend([image_token] * n if t == image_token else [t])
    ids = torch.tensor([ids])
    with torch.no_grad():
        out = net.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels["pixel_values"],
                           max_new_tokens=tokens, do_sample=False, return_dict_in_generate=True, output_logits=True)
    new = out.sequences[0, ids.shape[1]:].tolist()
    probs = [torch.log_softmax(step[0].float(), -1)[t].item() for step, t in zip(out.logits, new)]
    return new, probs


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "noise.png"
    Image.fromarray(np.random.default_rng(7).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    subprocess.run([ROOT / "grace", "demo", "--quick", "--out", out], check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "report.json").read_text())


def compare(model, image):
    ours = ask(model, image)
    ids, log_probs = reference(model, image)
    eos = json.loads((model / "config.json").read_text()).get("eos_token_id", 2)
    ids, log_probs = zip(*[(i, p) for i, p in zip(ids, log_probs) if i != eos]) if ids else ((), ())
    n = min(len(ids), len(ours["token_ids"]))
    assert n > 0
    assert ours["token_ids"][:n] == list(ids[:n])
    np.testing.assert_allclose(ours["log_probs"][:n], log_probs[:n], atol=1e-3)


def test_demo_artifacts_open_in_transformers(demo, image):
    """The exported INT4 student and its 16-bit baseline: same tokens, same log-probabilities."""
    models = {a["name"]: pathlib.Path(a["uri"]) for a in demo["artifacts"] if a["kind"] == "model"}
    packed = [p for p in models.values() if "quantization_config" in json.loads((p / "config.json").read_text())]
    dense = [p for p in models.values() if p not in packed]
    assert packed and dense
    for model in [dense[0], packed[0], packed[-1]]:
        compare(model, image)
