"""The engine's golden values are what the installed torch gives today, and the engine gives them on torch's own libraries too."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
import torch

import operators
from reference import ROOT, grace


@pytest.mark.parametrize("dtype,atol", [("float32", 1e-5), ("bfloat16", 1 / 64)])
def test_operator_goldens(dtype, atol):
    made = operators.goldens()[dtype]
    kept = json.loads(operators.OUT.read_text())[dtype]
    assert made.keys() == kept.keys() and len(kept) > 100
    for name in made:
        np.testing.assert_allclose(made[name], kept[name], atol=atol, rtol=1 / 128 if dtype == "bfloat16" else 1e-5)


def test_engine_on_torchs_own_libraries(tmp_path):
    grace("doctor")  # builds what is not built
    libraries = pathlib.Path(torch.__file__).parent / "lib"
    report = tmp_path / "report.json"
    java = '. etc/find-jdk && find_jdk && exec "$JAVA_HOME/bin/java" --enable-native-access=ALL-UNNAMED "$@"'
    classes = (ROOT / "pipelines/target/classpath").read_text().strip()
    done = subprocess.run(
        ["bash", "-c", java, "java", "-cp", classes, "io.gracebeam.worker.engine.checks.EngineCheck", report, "cpu", operators.OUT],
        cwd=ROOT, env=os.environ | {"GRACE_LIBTORCH": str(libraries)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    found = json.loads(report.read_text())
    assert torch.__version__.split("+")[0] in found["device"] and "GRACE_LIBTORCH" in found["device"]
    assert not found["failures"] and not found["notes"]
    results = sum(len(values) for values in json.loads(operators.OUT.read_text()).values())
    assert len(found["rows"]) == results + 1  # and one of memory
