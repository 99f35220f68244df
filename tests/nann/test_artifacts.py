"""What a step may replace: its own artifacts, and nothing else, with or without --overwrite."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nann import digests
from nann.artifacts import ArtifactWriter
from nann.errors import ArtifactError
from nann.service.store import Store
from pipelines.cli import main


def write(path: Path, *, step: str = "train", text: str = "new", overwrite: bool = False) -> None:
    with ArtifactWriter(path, step=step, params={"text": text}, inputs={}, overwrite=overwrite) as directory:
        (directory / "file.txt").write_text(text)


def test_an_artifact_of_the_step_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "model", text="old")
    write(tmp_path / "model", overwrite=True)
    assert (tmp_path / "model" / "file.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_damaged_artifact_of_the_step_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "model", text="old")
    (tmp_path / "model" / "file.txt").unlink()
    write(tmp_path / "model", overwrite=True)
    assert (tmp_path / "model" / "file.txt").read_text() == "new"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["directory", "no manifest of ours", "another step", "file", "link", "dangling link"])
def test_what_is_not_ours_stays(tmp_path: Path, kind: str, overwrite: bool) -> None:
    path, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("years of work")
    if kind in ("directory", "no manifest of ours"):
        path.mkdir()
        (path / "thesis.txt").write_text("years of work")
        if kind == "no manifest of ours":
            (path / "manifest.json").write_text(json.dumps(["a", "list"]))
    elif kind == "another step":
        write(path, step="extract")
    elif kind == "file":
        path.write_text("years of work")
    else:
        path.symlink_to(elsewhere if kind == "link" else tmp_path / "nowhere")
    before = sorted((str(file), file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file())
    with pytest.raises(ArtifactError, match="not replaced"):
        write(path, overwrite=overwrite)
    assert sorted((str(file), file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file()) == before


def test_the_command_line_refuses_before_any_work(tmp_path: Path, small_log: Path) -> None:
    thesis = tmp_path / "dataset" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    result = CliRunner().invoke(main, ["convert", "--input", str(small_log), "--dataset", str(thesis.parent), "--overwrite"])
    assert result.exit_code == 1
    assert "holds no artifact" in result.output
    assert thesis.read_text() == "years of work"


def test_removing_a_version_leaves_what_its_links_point_at(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "data.bin").write_text("not ours")
    store = Store(tmp_path / "service")
    (tmp_path / "service" / "versions" / "000001").mkdir(parents=True)
    (tmp_path / "service" / "versions" / "000001" / "inside").symlink_to(foreign)
    (tmp_path / "service" / "versions" / "000002").symlink_to(foreign)
    store.remove("versions/000001")
    store.remove("versions/000002")
    store.remove("versions/000003")
    assert store.names("versions") == []
    assert (foreign / "data.bin").read_text() == "not ours"


def test_what_a_killed_run_left_is_kept_when_a_default_is_written_out(tmp_path):
    """An option of floats has the default 4, and 4.0 when a file or a flag gives it."""
    for epochs in (4, 4.0):
        writer = ArtifactWriter(tmp_path / "model", step="train", params={"epochs": epochs}, inputs={}, resumable=True)
        with pytest.raises(KeyboardInterrupt), writer as directory:  # noqa: PT012
            left = [path.name for path in directory.iterdir() if path.name == "checkpoint"]
            (directory / "checkpoint").write_text("here")
            raise KeyboardInterrupt
    assert left == ["checkpoint"]


def test_links_to_one_file_are_read_once(tmp_path, monkeypatch):
    """The tables of all exported forms are one file."""
    (tmp_path / "a").write_bytes(b"tables")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").write_bytes(b"tables")
    read, digest = [], digests.sha256_file
    monkeypatch.setattr(digests, "sha256_file", lambda path: read.append(path.name) or digest(path))
    found = digests.sha256_files([tmp_path / name for name in "abcb"])
    assert found == [hashlib.sha256(b"tables").hexdigest()] * 4
    assert len(read) == 2
    assert "c" in read
