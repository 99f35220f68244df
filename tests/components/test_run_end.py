import json
from pathlib import Path

import pytest

from components.run_end import tell_run_end


def test_the_page_has_state_reason_steps_and_lineage(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "dataset").mkdir(parents=True)
    (run / "dataset" / "manifest.json").write_text(json.dumps({"step": "convert", "inputs": {"log:a.csv": "ab" * 32}}))
    done = {"step": "convert", "seconds": 2.5, "status": "done", "reused": False, "metrics": {}}
    failed = {**done, "step": "train", "status": "failed", "reason": "the loss is nan"}
    (run / "steps.jsonl").write_text(json.dumps(done) + "\n" + json.dumps(failed) + "\n")
    page = tmp_path / "page.md"
    tell_run_end(str(page), run_dir=str(run), steps=["convert", "train", "extract"], state="FAILED", error="Task steps failed.")
    text = page.read_text()
    for line in ("# FAILED", "Step `train`: the loss is nan", "| convert | done | 2.5 |", "| extract | not run |  |"):
        assert line in text.splitlines()
    assert "log:a.csv `abababababab`" in text
    assert json.loads((run / "summary.json").read_text())["failed_step"] == "train"


@pytest.mark.parametrize(("told", "state"), [("COMPLETE", "SUCCEEDED"), ("SUCCEEDED", "SUCCEEDED"), ("FAILED", "FAILED")])
def test_the_state_is_the_same_whatever_the_server_calls_it(tmp_path: Path, told: str, state: str) -> None:
    """kubeflow/pipelines, backend/src/v2/driver: PipelineTaskFinalStatus of 2.17 has the name of ML Metadata's state."""
    tell_run_end(str(tmp_path / "page.md"), run_dir="", steps=["convert"], state=told, error="")
    assert (tmp_path / "page.md").read_text() == f"# {state}\n"


def test_without_a_run_directory_the_state_is_all_there_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    tell_run_end(str(page), run_dir="", steps=["convert"], state="SUCCEEDED", error="")
    assert page.read_text() == "# SUCCEEDED\n"
