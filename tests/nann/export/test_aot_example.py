"""examples/aot_scorer: a scorer compiled ahead of time gives TensorFlow's scores, and says so when it does not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "aot_scorer"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not EXAMPLE.is_dir(), reason="needs the source tree: its example is compiled"),
]


def test_the_program_scores_as_tensorflow_does(exported: Any, tmp_path: Path) -> None:
    graph_file = exported.directory / "frozen_graph.pb"
    options = ["--graph-file", str(graph_file), "--output", str(tmp_path / "aot"), "--items", "48", "--length", "6"]
    built = subprocess.run([sys.executable, str(EXAMPLE / "build.py"), *options], capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr[-3000:]
    command = [str(tmp_path / "aot" / "program" / "score"), str(tmp_path / "aot"), "--repetitions", "5"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["items"] == 48
    assert found["largest_difference"] < 1e-4

    expected = np.fromfile(tmp_path / "aot" / "expected.bin", np.float32)
    expected[7] += 1
    expected.tofile(tmp_path / "aot" / "expected.bin")
    assert subprocess.run(command, capture_output=True).returncode == 1
    expected[:-1].tofile(tmp_path / "aot" / "expected.bin")
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "expected.bin does not hold 48 floats" in refused.stderr
