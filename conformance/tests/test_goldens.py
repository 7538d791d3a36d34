"""The committed golden files are what the installed transformers and Pillow give today."""

import json
import pathlib

import numpy as np

import make_goldens

GOLDENS = make_goldens.OUT


def test_forward_goldens():
    made = make_goldens.forward_goldens(make_goldens.tiny_model())
    kept = json.loads((GOLDENS / "forward.json").read_text())
    assert len(made) == len(kept) > 0
    for now, then in zip(made, kept):
        assert now["ids"] == then["ids"] and now["greedy"] == then["greedy"]
        for key in ("pixels", "logits", "visual_states"):
            np.testing.assert_allclose(now[key], then[key], atol=2e-5, rtol=0)


def test_image_goldens(tmp_path, monkeypatch):
    monkeypatch.setattr(make_goldens, "OUT", tmp_path)
    made = make_goldens.image_goldens()
    kept = json.loads((GOLDENS / "images.json").read_text())
    assert [m["sha256"] for m in made] == [k["sha256"] for k in kept] and made
    assert [m["float_sha256"] for m in made] == [k["float_sha256"] for k in kept]


def test_photo_goldens():
    made = make_goldens.photo_goldens()
    if not made:
        import pytest
        pytest.skip("the photos are not there; GRACE_PHOTOS names their folder")
    assert made == pathlib.Path(GOLDENS / "photos.sha256").read_text().splitlines()


def test_training_goldens():
    cases = json.loads((GOLDENS / "forward.json").read_text())
    made = make_goldens.training_goldens(make_goldens.tiny_model(), cases)
    kept = json.loads((GOLDENS / "training.json").read_text())
    assert made["examples"] == kept["examples"] and kept["margin"] > 5e-6 and kept["weakest"] > 5e-5
    for now, then in zip(made["curve"], kept["curve"], strict=True):
        for key in then:
            np.testing.assert_allclose(now[key], then[key], rtol=1e-6)
    assert made["tensors"].keys() == kept["tensors"].keys()
    for name, then in kept["tensors"].items():
        if not make_goldens.is_idle(name):
            np.testing.assert_allclose(made["tensors"][name]["values"], then["values"], rtol=1e-6, atol=1e-9)
