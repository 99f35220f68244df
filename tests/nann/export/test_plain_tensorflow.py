"""The code blocks of docs/retrieval.md, each in a fresh process that has TensorFlow but not this package."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nann.dataset.inputs import RequestInput
from nann.export import write_served_inputs

DOCS = Path(__file__).parents[3] / "docs" / "retrieval.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
WITH_INPUTS = [block for block in BLOCKS if "inputs.json" in block]
EPILOGUE = """
import sys
assert not {"nann", "ops", "data_prep"} & set(sys.modules)
np.savez("outputs.npz", ids=ids, scores=scores)
"""


def run_block(block: str, directory: Path) -> Any:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(
        [sys.executable, "-I", "-c", block + EPILOGUE], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return np.load(directory / "outputs.npz")


def test_block_with_inputs(exporter: Any, tmp_path: Path) -> None:
    """Kinds by their text and times, as the retriever reads them by row."""
    features = {"behavior": RequestInput("history", 2), "time": RequestInput("history")}
    exported = exporter(tmp_path / "converted_model", features=features)
    described = {"behavior": {"side": "history", "num_values": 2, "values": ["cart", "pv"]}, "time": {"side": "history"}}
    sizes = {"layout": "user", "max_length": 10, "train_min_length": 2, "num_items": 30, "num_categories": 4, "features": {}}
    (tmp_path / "meta.json").write_text(json.dumps(sizes | {"inputs": described}))
    write_served_inputs(exported.directory, tmp_path, features)
    (block,) = WITH_INPUTS
    outputs = run_block(block, tmp_path)
    inputs = {"behavior": np.array([[2, 1, 2]]), "time": np.array([[0, 20, 90_000]]) + 1_511_600_000}
    expected = exported.retriever()(np.array([[3, 7, 12]]), np.array([[1, 2, 1]]), **inputs)
    np.testing.assert_array_equal(outputs["ids"], expected.item_rows)
    np.testing.assert_allclose(outputs["scores"], expected.scores, atol=1e-5)


@pytest.mark.parametrize("block", BLOCKS, ids=["filtered", "inputs", "saved_model", "meta", "frozen"])
def test_block(exported: Any, block: str) -> None:
    outputs = run_block(block, exported.directory.parent)
    if 'signatures["filtered"]' in block:
        found, categories = outputs["ids"][0], exported.catalogue.category_rows
        assert len(found) == 15
        assert set(categories[found]) == {1, 2}
        assert not set(found) & {3, 5, 7, 9, 12}
        return
    expected = exported.retriever()(np.array([[3, 7, 12]]), np.array([[1, 2, 1]]))
    if outputs["ids"].shape[1] == 15:
        np.testing.assert_array_equal(outputs["ids"], expected.item_rows)
        np.testing.assert_allclose(outputs["scores"], expected.scores, atol=1e-5)
    else:
        score_of = dict(zip(expected.item_rows[0].tolist(), expected.scores[0].tolist(), strict=True))
        shared = [row for row in outputs["ids"][0].tolist() if row in score_of]
        assert len(shared) >= 8
        for row, score in zip(outputs["ids"][0].tolist(), outputs["scores"][0].tolist(), strict=True):
            assert score == pytest.approx(score_of.get(row, score), abs=1e-5)
