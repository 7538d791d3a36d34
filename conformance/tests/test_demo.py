"""What ./grace demo leaves opens in transformers: the 16-bit student as it is, the 4-bit ones through compressed-tensors."""

import json
import pathlib

import pytest

from reference import compare, grace


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    grace("demo", "--quick", "--out", out)
    return out


def models(run: pathlib.Path):
    report = json.loads((run / "report.json").read_text())
    return {a["name"]: run / "store/objects" / a["sha256"] for a in report["artifacts"] if a["kind"] == "model"}


def image(run: pathlib.Path) -> pathlib.Path:
    return sorted(run.glob("store/objects/*/benchmark-images/*.png"))[0]


def test_dense_student(run):
    name, folder = next((n, f) for n, f in models(run).items() if n.startswith("prepare/student"))
    assert "quantization_config" not in json.loads((folder / "config.json").read_text()), name
    assert compare(folder, image(run), 8, atol=1e-3) > 0


@pytest.mark.parametrize("variant", ["rtn-int4", "grace-int4"])
def test_packed_student(run, variant):
    folder = next(f for n, f in models(run).items() if n.startswith("export/" + variant))
    assert json.loads((folder / "config.json").read_text())["quantization_config"]["format"] == "pack-quantized"
    assert compare(folder, image(run), 8, atol=1e-3) > 0
