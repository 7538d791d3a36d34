"""The engine's golden values are what the installed torch gives today, and the engine gives them on torch's own libraries too."""

import json

import numpy as np
import pytest

import operators


@pytest.mark.parametrize("dtype,atol", [("float32", 1e-5), ("bfloat16", 1 / 64)])
def test_operator_goldens(dtype, atol):
    made = operators.goldens()[dtype]
    kept = json.loads(operators.OUT.read_text())[dtype]
    assert made.keys() == kept.keys() and len(kept) > 100
    for name in made:
        np.testing.assert_allclose(made[name], kept[name], atol=atol, rtol=1 / 128 if dtype == "bfloat16" else 1e-5)
