"""Weights with zero points: what we write opens in transformers through compressed-tensors, and what compressed-tensors writes opens
here, with the same numbers and answers. Transformers 5.23 with compressed-tensors 0.20 opens such folders with dequantize=True alone:
the packed modules that it makes otherwise have zero points of another shape than the files that compressed-tensors writes."""

import json
import pathlib

import pytest
import torch
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import load_file, save_file
from transformers import CompressedTensorsConfig, LlavaForConditionalGeneration

from reference import compare, grace
from test_checkpoints import noise, write  # noqa: F401
from test_layouts import exported

VARIANTS = """
  - {name: zeros-4, preset: rtn-int4, symmetric: false}
  - {name: zeros-3, preset: rtn-int3, symmetric: false, quantizer: mse}
  - {name: zeros-rows, preset: rtn-int4, symmetric: false, group_size: -1}
"""


def opened(folder: pathlib.Path, image: pathlib.Path) -> int:
    """The length of the equal answers."""
    return compare(folder, image, 16, atol=2e-2, quantization_config=CompressedTensorsConfig(dequantize=True))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    return folder / "student", exported(folder, VARIANTS)


def decompressed(tensors: dict, name: str, scheme: QuantizationScheme) -> torch.Tensor:
    state = {f"weight{s}": tensors[name + s] for s in ("_packed", "_scale", "_shape", "_zero_point")}
    return PackedQuantizationCompressor.decompress(state, scheme)["weight"]


@pytest.mark.parametrize("variant", ["zeros-4", "zeros-3", "zeros-rows"])
def test_ours_opens_there(ours, noise, variant):  # noqa: F811
    student, folders = ours
    tensors = load_file(folders[variant] / "model.safetensors")
    original = load_file(student / "model.safetensors")
    config = json.loads((folders[variant] / "config.json").read_text())["quantization_config"]
    args = QuantizationArgs(**config["config_groups"]["group_0"]["weights"])
    assert not args.symmetric
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    seen = 0
    for name in [n.removesuffix("_packed") for n in tensors if n.endswith("_packed") and ".layers." in n]:
        found = decompressed(tensors, name, scheme)
        # A weight that the range of its group encloses moves by half a step, and by another half for the zero point.
        step = tensors[name + "_scale"].repeat_interleave(found.shape[1] // tensors[name + "_scale"].shape[1], 1)
        if variant != "zeros-3":
            assert ((found - original[name]).abs() <= 1.001 * step).all(), name
        assert (found - original[name]).pow(2).mean() < 0.4 * step.pow(2).mean()
        seen += 1
    assert seen == 3 * 7
    net = LlavaForConditionalGeneration.from_pretrained(
        folders[variant], dtype=torch.float32, quantization_config=CompressedTensorsConfig(dequantize=True))
    assert torch.equal(net.model.language_model.layers[2].mlp.down_proj.weight, decompressed(tensors, "language_model.model.layers.2.mlp.down_proj.weight", scheme))
    assert opened(folders[variant], noise) == 16


def compressed(folder: pathlib.Path, **weights) -> pathlib.Path:
    """A folder whose decoder compressed-tensors packed."""
    write(folder, 21, 2)
    args = QuantizationArgs(num_bits=weights.pop("bits"), type="int", symmetric=False, **weights)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    out = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if "language_model" not in name or ".layers." not in name or value.dim() != 2:
            out[name] = value
            continue
        groups = value.reshape(value.shape[0], -1, args.group_size or value.shape[1])
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
        state = {"weight": value, "weight_scale": scale, "weight_zero_point": zero.to(torch.int8)}
        for part, tensor in PackedQuantizationCompressor.compress(state, scheme).items():
            out[name.removesuffix("weight") + part] = tensor.contiguous()
    save_file(out, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
        "ignore": ["lm_head", "re:.*lm_head.*", "re:.*vision_tower.*", "re:.*multi_modal_projector.*"], "kv_cache_scheme": None,
        "config_groups": {"group_0": {
            "targets": ["Linear"], "weights": json.loads(args.model_dump_json(exclude_none=True)), "input_activations": None,
            "output_activations": None}}}
    file.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("weights", [
    {"bits": 4, "strategy": "group", "group_size": 16}, {"bits": 8, "strategy": "group", "group_size": 8},
    {"bits": 3, "strategy": "channel"}])
def test_theirs_opens_here(tmp_path, noise, weights):  # noqa: F811
    folder = compressed(tmp_path, **weights)
    assert opened(folder, noise) == 16
