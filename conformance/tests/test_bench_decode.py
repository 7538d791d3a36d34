"""llama.cpp's side of `grace bench decode`: the file it writes is what it says, and llama.cpp decodes with it where it is set up."""

import collections
import math
import pathlib
import subprocess
import sys

import gguf
import numpy as np
import pytest

import bench_decode

SCRIPT = pathlib.Path(bench_decode.__file__)
PEERS = SCRIPT.parent / ".venv-peers/bin/python"
SHAPE = "2,128,4,2,32,352,320"


def call(python, *arguments, **more):
    return subprocess.run([str(python), str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, timeout=120, **more)


@pytest.mark.parametrize("shape", ["", "1,2,3", "2,128,4,2,32,352,x", "0,128,4,2,32,352,320", "2,128,4,3,32,352,320", "2,128,4,2,31,352,320",
                                   "2,120,4,2,32,352,320", "2,128,4,2,32,350,320"])
def test_refuses_shapes(shape):
    p = call(sys.executable, "write", "--format=q4_0", "--file=unused", f"--shape={shape}")
    assert p.returncode == 2 and "argument --shape" in p.stderr


@pytest.mark.parametrize("arguments", [["--formats=q4_0,q5"], ["--threads=0"], ["--prompt=x"], ["--tokens=1000000"], ["--repack=perhaps"]])
def test_refuses_options(arguments):
    assert call(sys.executable, "run", f"--shape={SHAPE}", *arguments).returncode == 2


@pytest.mark.parametrize("kind", bench_decode.FORMATS)
def test_file(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_decode, "CHUNK_ROWS", 100)
    shape, file = bench_decode.shape_of(SHAPE), tmp_path / "model.gguf"
    bench_decode.write(shape, kind, str(file))
    tensors = {t.name: t for t in gguf.GGUFReader(file).tensors}
    layer_type, head_type = bench_decode.FORMATS[kind]
    assert len(tensors) == 1 + 7 * shape.layers + 1 + 2 * shape.layers
    assert sum(t.n_bytes for t in tensors.values() if len(t.shape) == 2) == bench_decode.weight_bytes(shape, kind)
    for name, rows, cols, _ in bench_decode.matrices(shape, layer_type, head_type):
        t = tensors[name]
        assert t.tensor_type.name == (head_type if name == "token_embd.weight" else layer_type)
        w = gguf.quants.dequantize(t.data, t.tensor_type)
        assert w.shape == (rows, cols)
        assert np.sqrt(np.mean(w**2)) * math.sqrt(cols) == pytest.approx(1, abs=0.45)  # one exponent is as near as 2^0.5
        assert abs(w.mean()) * math.sqrt(cols) < 6 / math.sqrt(w.size / 32)
    assert np.array_equal(tensors["output_norm.weight"].data, np.ones(shape.width))


def test_no_room(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(bench_decode.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with pytest.raises(bench_decode.LeftOut, match="to spare are wanted on the disk"):
        bench_decode.write(bench_decode.shape_of(SHAPE), "bf16", str(tmp_path / "model.gguf"))
    assert not list(tmp_path.iterdir())


def test_says_what_to_set_up(tmp_path):
    (tmp_path / "llama_cpp.py").write_text("raise ImportError('no llama_cpp here')")
    p = call(sys.executable, "serve", "--file=none.gguf", env={"PYTHONPATH": str(tmp_path)})
    assert p.returncode == bench_decode.LEFT_OUT
    assert p.stdout == "left out no llama_cpp here; conformance/setup-peers makes its environment\n"


needs_peer = pytest.mark.skipif(not PEERS.exists(), reason="llama.cpp is not set up (conformance/setup-peers)")


@needs_peer
def test_decodes(tmp_path):
    p = call(PEERS, "run", f"--shape={SHAPE}", "--prompt=40", "--tokens=3", "--rounds=2", "--threads=2", env={"TMPDIR": str(tmp_path)})
    assert p.returncode == 0, p.stdout + p.stderr
    rows = [line.split() for line in p.stdout.splitlines()]
    assert [r[0] for r in rows] == list(bench_decode.FORMATS)
    for _, prefill, decode, resident, peak in rows:
        assert float(prefill) > 0 and float(decode) > 0 and 0 < float(resident) <= float(peak) < 1
    assert not list(tmp_path.iterdir())


@needs_peer
def test_file_that_is_no_model(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    p = call(PEERS, "serve", f"--file={tmp_path / 'model.gguf'}")
    assert p.returncode == bench_decode.LEFT_OUT and "left out llama.cpp cannot load" in p.stdout
