"""The recipe and the Python lines of the README run as they stand there, on a small model and with fewer steps."""

import json
import os
import re
import subprocess
import sys

import pytest
from PIL import Image
from transformers import AutoTokenizer, LlavaProcessor

import make_goldens
from reference import ROOT, grace
from test_checkpoints import write


def block(language: str) -> str:
    """The README's only block of a language."""
    found = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(found) == 1
    return found[0]


@pytest.fixture
def place(tmp_path):
    """A folder with all that the recipe names."""
    images = tmp_path / "data/train/images"
    images.mkdir(parents=True)
    (tmp_path / "data/pope-images").mkdir()
    for i, color in enumerate(["red", "green", "blue", "white"] * 4):
        Image.new("RGB", (32, 32), color).save(images / f"{i}.png")
    Image.new("RGB", (32, 32), "red").save(tmp_path / "data/pope-images/0.png")
    Image.new("RGB", (40, 32), "green").save(tmp_path / "photo.png")
    turns = [{"from": "human", "value": "<image>\nwhat is there?"}, {"from": "gpt", "value": "word1"}]
    (tmp_path / "data/train/train.json").write_text(json.dumps(
        [{"id": str(i), "image": f"images/{i}.png", "conversations": turns} for i in range(16)]))
    (tmp_path / "data/pope.json").write_text(json.dumps(
        {"question_id": 0, "image": "0.png", "text": "what is there?", "label": "yes"}))
    for name, seed in (("teacher", 21), ("student", 22)):
        folder = write(tmp_path / "models" / name, seed, 2)
        LlavaProcessor(
            make_goldens.CLIPImageProcessorPil.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), patch_size=8,
            vision_feature_select_strategy="default", num_additional_image_tokens=1).save_pretrained(folder)
    (tmp_path / "recipe.yaml").write_text(
        block("yaml").replace("steps: 500", "steps: 2").replace("group_size: 32", "group_size: 16"))
    return tmp_path


def test_readme(place):
    planned = grace("plan", "recipe.yaml", cwd=place)
    assert "train/grace-int4/s1" in planned and "memory in MB" in planned
    grace("run", "recipe.yaml", cwd=place)
    assert (place / "runs/mine/report.html").is_file()
    done = subprocess.run(
        [sys.executable, "-c", block("python")], cwd=place, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ASSISTANT" in done.stdout
