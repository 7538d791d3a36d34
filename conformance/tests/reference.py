"""What transformers answers for a model folder, and what ./grace ask answers: both as token ids and log-probabilities."""

import json
import pathlib
import subprocess

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import LlavaForConditionalGeneration
from transformers.models.clip import CLIPImageProcessorPil

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUESTION = "what is at the top left?"


def grace(*args, cwd: pathlib.Path | None = None) -> str:
    """Output of a command; a failure shows the command's own line."""
    done = subprocess.run([ROOT / "grace", *map(str, args)], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def ask(model: pathlib.Path, image: pathlib.Path, tokens: int = 32) -> dict:
    exact = ("--json", "--compute", "float32")
    return json.loads(
        grace("ask", *exact, "--max-new-tokens", tokens, "--model", model, "--image", image, QUESTION).splitlines()[-1])


def transformers_answer(model: pathlib.Path, image: pathlib.Path, tokens: int = 32, **load):
    """Greedy ids without the end token, and the log-probability of each; compressed-tensors folders are opened as such."""
    net = LlavaForConditionalGeneration.from_pretrained(model, dtype=torch.float32, **load).eval()
    config = json.loads((model / "config.json").read_text())
    image_token = config.get("image_token_index", config.get("image_token_id"))
    pixels = CLIPImageProcessorPil.from_pretrained(model)(Image.open(image).convert("RGB"), return_tensors="pt")
    ids = []
    for token in Tokenizer.from_file(str(model / "tokenizer.json")).encode(f"USER: <image>\n{QUESTION} ASSISTANT:").ids:
        ids.extend([image_token] * net.config.image_seq_length if token == image_token else [token])
    ids = torch.tensor([ids])
    with torch.no_grad():
        # A pass of the whole model unpacks its weights; generate() runs the vision tower before it makes one.
        net(input_ids=ids, pixel_values=pixels["pixel_values"])
        out = net.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels["pixel_values"], max_new_tokens=tokens,
            do_sample=False, return_dict_in_generate=True, output_logits=True)
    new = out.sequences[0, ids.shape[1]:].tolist()
    probs = [torch.log_softmax(step[0].float(), -1)[token].item() for step, token in zip(out.logits, new)]
    end = net.generation_config.eos_token_id
    if end in new:
        new, probs = new[:new.index(end)], probs[:new.index(end)]
    return new, probs


def compare(model: pathlib.Path, image: pathlib.Path, tokens: int = 32, atol: float = 1e-4, **load) -> int:
    """Asserts equal answers; returns their length. `load` goes to transformers."""
    ours = ask(model, image, tokens)
    ids, probs = transformers_answer(model, image, tokens, **load)
    assert ours["tokenIds"][:len(ids)] == ids
    np.testing.assert_allclose(ours["logProbs"][:len(ids)], probs, atol=atol, rtol=0)
    return len(ids)
