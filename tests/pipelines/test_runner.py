"""The local runner on real tasks: convert is enough to see how a run fails, resumes and reports."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from components.configs import make_config
from nann.steps.table import CONFIGS, NAMES_OF
from pipelines.cli import main
from pipelines.runner import StepError, _reason, read_timings, run_locally

ROOT = Path(__file__).parents[2]
CONFIGS_BY_NAME = {name: make_config(name) for name in CONFIGS}


def nann(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_failing_step_is_named_with_its_reason_and_log(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("a,b\n1,x\n")
    # kfp's local runner would rewrite "python3" in paths.
    run_dir = tmp_path / "python3.11" / "run"
    result = nann("pipeline", "run", "--input", log, "--run-dir", run_dir)
    assert result.exit_code == 1
    assert "step convert starts" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: step convert failed: ")
    assert "give columns, for example user=COLUMN" in last
    assert str(run_dir / "logs" / "convert.log") in last
    assert "give columns, for example user=COLUMN" in (run_dir / "logs" / "convert.log").read_text()
    assert [entry["status"] for entry in read_timings(run_dir / "steps.jsonl")] == ["failed"]
    assert not (run_dir / "dataset").exists()
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["state"], summary["failed_step"]) == ("FAILED", "convert")
    assert "give columns, for example user=COLUMN" in summary["error"]
    assert {entry["step"]: entry["status"] for entry in summary["steps"]} == {
        name: "failed" if name == "convert" else "not run" for name in NAMES_OF["training"]
    }
    quiet = nann("pipeline", "run", "--input", log, "--run-dir", run_dir, "--quiet")
    assert "--- the last lines of " in quiet.stderr


def test_a_run_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("a,b\n1,x\n")
    root = logging.getLogger()
    before = (dict(os.environ), sys.executable, print, root.level, root.handlers[:], sys.stdout)
    with pytest.raises(StepError) as caught:
        run_locally(inputs=[log], run_dir=tmp_path / "run", configs=CONFIGS_BY_NAME)
    assert (dict(os.environ), sys.executable, print, root.level, root.handlers[:], sys.stdout) == before
    assert (caught.value.step, caught.value.explained) == ("convert", True)


@pytest.mark.parametrize(("sent", "step"), [(signal.SIGINT, "convert"), (signal.SIGTERM, "train")])
def test_a_run_that_is_ended_from_outside_ends_its_step_and_leaves_its_summary(tmp_path: Path, sent: signal.Signals, step: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text("".join(f"{event % 99},{event % 77},1,pv,{1511600000 + event}\n" for event in range(4_000)))
    forever = ["train.epochs=1000000", "train.max_steps=0", "convert.test_users=10", "convert.validate_users=10"]
    program = [sys.executable, "-m", "pipelines.cli", "pipeline", "run", "--input", str(log), "--run-dir", str(tmp_path / "run")]
    program += [f"--set={assignment}" for assignment in forever]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    for line in process.stderr:
        if f"step {step} starts" in line:
            break
    process.send_signal(sent)
    process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[sent]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["state"], summary["error"]) == ("CANCELED", "interrupted")


def test_the_run_directory_records_inputs_and_config(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("a,b\n1,x\n")
    nann("pipeline", "run", "--input", log, "--run-dir", tmp_path / "run", "--set", "train.epochs=2", "--quiet")
    assert json.loads((tmp_path / "run" / "inputs.json").read_text()) == {"inputs": [str(log)]}
    again = nann("pipeline", "run", "--run-dir", tmp_path / "run", "--config", tmp_path / "run" / "config.yaml", "--quiet")
    assert "give columns, for example user=COLUMN" in again.stderr  # the recorded log, not a generated one
    assert "epochs: 2" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--start-from", "train"), 2, "--start-from needs --run-dir"),
        (
            ("--start-from", "train", "--run-dir", "{tmp}/none"),
            1,
            "the run cannot start from train; use --start-from convert",
        ),
        (("--input", "{tmp}/none.csv", "--run-dir", "{tmp}/run"), 1, "none.csv: No such file or directory"),
        (("--run-dir", "{tmp}/file"), 1, "--run-dir must be a directory"),
        (("--set", "train.epochs=-1"), 1, "train.epochs: input should be greater than or equal to 0"),
        (("--set", "train.epoch=1"), 1, "train has no option 'epoch'; did you mean 'epochs'?"),
        (("--config", "{tmp}/none.yaml"), 1, "none.yaml: No such file or directory"),
    ],
)
def test_refused_before_anything_starts(tmp_path: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    (tmp_path / "file").write_text("")
    result = nann("pipeline", "run", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (["12:00 ERROR x: error: the log is empty", "step convert failed after 0.1 s"], ("the log is empty", True)),
        (
            ["Traceback (most recent call last):", '  File "x"', "numpy.exceptions.AxisError: axis 3", "step x failed"],
            ("numpy.exceptions.AxisError: axis 3", False),
        ),
        (["12:00 INFO step 3"], ("its process ended without giving a reason (killed, or out of memory?)", False)),
        ([], ("its process ended without giving a reason (killed, or out of memory?)", False)),
    ],
)
def test_reason(tail: list[str], reason: tuple[str, bool]) -> None:
    assert _reason(tail) == reason


def test_timings_survive_a_line_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    whole = {"step": "convert", "status": "done", "seconds": 1.5, "reused": False, "metrics": {}}
    path.write_text(json.dumps(whole) + '\n{"step": "tr')
    assert read_timings(path) == [whole]
    assert read_timings(tmp_path / "none") == []
