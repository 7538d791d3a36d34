"""Checkpoints that transformers wrote, in one file or in shards, under new and old tensor names, asked through ./grace."""

import json
import pathlib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import make_goldens
from reference import QUESTION, compare

SPECIAL = ["<unk>", "<s>", "</s>", "<image>", "<pad>"]
WORDS = sorted({*"USER : ASSISTANT ?".split(), *QUESTION.rstrip("?").split()}) + [f"word{i}" for i in range(40)]


def tokenizer(folder: pathlib.Path):
    tok = Tokenizer(models.WordLevel({w: i for i, w in enumerate(SPECIAL + WORDS)}, unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.Whitespace()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tok.decoder = decoders.WordPiece()
    tok.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def write(folder: pathlib.Path, seed: int, kv_heads: int, tied: bool = False, **save):
    vision = CLIPVisionConfig(
        hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, image_size=32, patch_size=8,
        projection_dim=32, hidden_act="quick_gelu")
    text = LlamaConfig(
        vocab_size=len(SPECIAL + WORDS), hidden_size=64, intermediate_size=112, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=kv_heads, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=4,
        tie_word_embeddings=tied)
    torch.manual_seed(seed)
    net = LlavaForConditionalGeneration(LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=3, image_seq_length=16, vision_feature_layer=-2,
        vision_feature_select_strategy="default", tie_word_embeddings=tied)).eval().float()
    with torch.no_grad():
        for value in net.parameters():
            if value.dim() >= 2:
                value.normal_(0, 1.2 / value[0].numel() ** 0.5)
        net.lm_head.weight[[0, 2, 3, 4]] = 0
    net.save_pretrained(folder, **save)
    tokenizer(folder)
    size = {"height": 32, "width": 32}
    make_goldens.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "noise.png"
    Image.fromarray(np.random.default_rng(7).integers(0, 256, (71, 64, 3), dtype=np.uint8)).save(path)
    return path


def test_one_file(tmp_path, noise):
    assert compare(write(tmp_path, 1, 4), noise) == 32


def test_shards_and_grouped_queries(tmp_path, noise):
    folder = write(tmp_path, 2, 2, max_shard_size="100KB")
    assert (folder / "model.safetensors.index.json").is_file() and len(list(folder.glob("model-*.safetensors"))) > 2
    assert compare(folder, noise) == 32


def test_names_of_transformers_in_memory(tmp_path, noise):
    folder = write(tmp_path, 3, 4)
    tensors = load_file(folder / "model.safetensors")
    expected = compare(folder, noise)

    def renamed(name):
        if name.startswith("language_model.lm_head."):
            return name.removeprefix("language_model.")
        if name.startswith("language_model.model."):
            return "model.language_model." + name.removeprefix("language_model.model.")
        return name if name.startswith("lm_head.") else "model." + name

    other = {renamed(n): t for n, t in tensors.items()}
    assert set(other) != set(tensors)
    save_file(other, folder / "model.safetensors", metadata={"format": "pt"})
    assert compare(folder, noise) == expected == 32


@pytest.mark.parametrize("number", range(4))
def test_photos(tmp_path, number):
    photos = sorted(make_goldens.PHOTOS.glob("*.JPEG")) if make_goldens.PHOTOS.is_dir() else []
    if not photos:
        pytest.skip("the photos are not there; GRACE_PHOTOS names their folder")
    gray = [p for p in photos if Image.open(p).mode == "L"]
    chosen = [gray[0], photos[0], photos[len(photos) // 2], photos[-1]]
    assert compare(write(tmp_path, 4, 4), chosen[number], atol=1e-3) == 32
