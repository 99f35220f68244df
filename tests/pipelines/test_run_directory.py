"""A run writes into directories of runs, and over nothing that another has made."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from data_prep.config import GenerateConfig
from pipelines import runs
from pipelines.cli import main
from pipelines.runs import RunError


@pytest.mark.parametrize("name", ["inputs.json", "config.yaml", "summary.json", "steps.jsonl", "log.csv"])
def test_files_of_others_with_names_of_ours_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("years of work")
    result = CliRunner().invoke(main, ["pipeline", "run", "--run-dir", str(tmp_path), "--overwrite", "--set", "generate.users=100"])
    assert result.exit_code == 1, result.output
    assert "is not replaced" in result.output
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "years of work")]


def test_a_log_that_was_generated_here_is_replaced_when_asked(tmp_path: Path) -> None:
    small, other = (GenerateConfig(users=users, items=20, categories=2, events_per_user=4) for users in (20, 30))
    log = runs.generated_log(tmp_path, small, overwrite=False)
    before = log.read_text()
    assert runs.generated_log(tmp_path, small, overwrite=False).read_text() == before
    with pytest.raises(RunError, match="generated with other settings"):
        runs.generated_log(tmp_path, other, overwrite=False)
    assert runs.generated_log(tmp_path, other, overwrite=True).read_text() != before
    log.unlink()  # a process was killed between the stamp and the log
    assert runs.generated_log(tmp_path, other, overwrite=False).is_file()


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory"])
def test_a_generated_log_replaces_files_only(tmp_path: Path, kind: str) -> None:
    path, foreign = tmp_path / "log.csv", tmp_path / "thesis.txt"
    foreign.write_text("years of work")
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(foreign if kind == "link" else tmp_path / "nowhere")
    result = CliRunner().invoke(main, ["generate", "--output", str(path), "--users", "100", "--overwrite"])
    assert result.exit_code == 1
    assert "is a link or no file" in result.output
    assert foreign.read_text() == "years of work"
