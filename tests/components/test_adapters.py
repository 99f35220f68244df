"""The adapter around a real step (`convert`), with plain objects where kfp hands in artifacts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOG = "".join(
    f"{user},{100 + (user * 7 + step) % 9},{1 + step % 3},pv,{1511600000 + 60 * step}\n" for user in range(1, 21) for step in range(8)
)


def run_convert(tmp_path: Path, **changes: object) -> tuple[subprocess.CompletedProcess[str], dict]:
    """Runs the adapter in a process of its own, as kfp does; returns it and what it left in the artifacts."""
    log = tmp_path / "log.csv"
    if not log.exists():
        log.write_text(LOG)
    arguments = {"config": {}, "run_dir": str(tmp_path / "run"), "start_from": "", "overwrite": False, "code_digest": "", **changes}
    code = f"""
import json, sys
from kfp import dsl
from components.adapters import run_step
def artifact(kind, name):
    return kind(name=name, uri={str(tmp_path)!r} + "/kfp/" + name)
import os; os.makedirs({str(tmp_path / "kfp")!r}, exist_ok=True)
output, metrics, summary = artifact(dsl.Dataset, "dataset"), artifact(dsl.Metrics, "metrics"), artifact(dsl.Markdown, "summary")
given = dict(dataset=output, metrics=metrics, summary=summary, inputs=[{str(log)!r}], **{arguments!r})
digest = run_step("convert", given)
print(json.dumps({{"digest": digest, "path": output.path, "metrics": metrics.metadata}}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done, json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}


def timings(tmp_path: Path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]


def test_durable_run(tmp_path: Path) -> None:
    done, left = run_convert(tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    assert left["path"] == str(run / "dataset")
    assert (run / "dataset" / "manifest.json").is_file()
    assert left["metrics"]["num_users"] == 20
    assert len(left["digest"]) == 64
    assert (tmp_path / "kfp" / "summary").read_text().startswith("# convert\n")
    log = (run / "logs" / "convert.log").read_text()
    assert "step convert starts" in log
    assert "step convert done after" in log
    [entry] = timings(tmp_path)
    assert set(entry) == {"step", "seconds", "status", "reused", "metrics"}
    assert (entry["step"], entry["status"], entry["reused"]) == ("convert", "done", False)


def test_an_equal_artifact_is_kept_and_another_one_needs_overwrite(tmp_path: Path) -> None:
    _, first = run_convert(tmp_path)
    _, second = run_convert(tmp_path)
    assert second["digest"] == first["digest"]
    done, _ = run_convert(tmp_path, config={"max_length": 5.0})
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "give --overwrite to replace it" in (tmp_path / "run" / "logs" / "convert.log").read_text()
    _, third = run_convert(tmp_path, config={"max_length": 5.0}, overwrite=True)
    assert third["digest"] != first["digest"]
    assert [(entry["status"], entry["reused"]) for entry in timings(tmp_path)] == [
        ("done", False),
        ("done", True),
        ("failed", False),
        ("done", False),
    ]


def test_start_from_a_later_step_takes_the_artifact_as_it_is(tmp_path: Path) -> None:
    _, first = run_convert(tmp_path)
    _, kept = run_convert(tmp_path, config={"max_length": 5.0}, start_from="train")
    assert kept["digest"] == first["digest"]
    (tmp_path / "run" / "dataset" / "meta.json").write_text("{}")
    done, _ = run_convert(tmp_path, start_from="train")
    assert done.returncode == 1
    assert "meta.json" in (tmp_path / "run" / "logs" / "convert.log").read_text()


def test_start_from_the_step_itself_runs_it_anew(tmp_path: Path) -> None:
    run_convert(tmp_path)
    _, again = run_convert(tmp_path, start_from="convert")
    assert again["digest"]
    assert [entry["reused"] for entry in timings(tmp_path)] == [False, False]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["dataset", "logs", "steps.jsonl"]


def test_a_failure_puts_the_artifact_back(tmp_path: Path) -> None:
    _, first = run_convert(tmp_path)
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    done, _ = run_convert(tmp_path, start_from="convert")
    assert done.returncode == 1
    _, kept = run_convert(tmp_path, start_from="train")
    assert kept["digest"] == first["digest"]


def test_without_a_run_directory_kfps_own_place_is_used(tmp_path: Path) -> None:
    done, left = run_convert(tmp_path, run_dir="")
    assert done.returncode == 0, done.stderr
    assert left["path"] == str(tmp_path / "kfp" / "dataset")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("config", [{"max_length": 0.0}, {"nothing": 1.0}])
def test_a_bad_config_is_one_line(tmp_path: Path, config: dict) -> None:
    done, _ = run_convert(tmp_path, config=config)
    assert done.returncode == 1
    assert f"error: convert.{next(iter(config))}: " in (tmp_path / "run" / "logs" / "convert.log").read_text()


def test_a_task_with_other_code_than_the_run_refuses(tmp_path: Path) -> None:
    done, _ = run_convert(tmp_path, code_digest="0" * 64)
    assert done.returncode == 1
    assert "but the run was made for code 000000000000" in (tmp_path / "run" / "logs" / "convert.log").read_text()
