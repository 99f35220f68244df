"""What is beside an artifact, and where it cannot be written: found before any work, ours mended or removed, the rest left alone."""

import fcntl
import os
import re
import threading
from pathlib import Path

import pytest

from nann import placing
from nann.artifacts import ArtifactWriter, open_artifact
from nann.errors import ArtifactError
from nann.placing import made_anew, remove_artifact


def write(path: Path, *, text: str = "new", overwrite: bool = False, step: str = "train") -> bool:
    """Whether it was written: false when it was up to date."""
    writer = ArtifactWriter(path, step=step, params={"text": text}, inputs={}, overwrite=overwrite)
    if writer.is_current:
        return False
    with writer as directory:
        (directory / "file.txt").write_text(text)
    return True


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("name", [".model.partial", "model"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_directory_is_neither_replaced_nor_used_for_the_work(tmp_path: Path, name: str, overwrite: bool) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match=r"thesis|move it away"):
        write(tmp_path / "model", overwrite=overwrite)
    assert (tmp_path / name / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("suffix", [".old", ".aside"])
def test_foreign_directories_of_other_names_of_ours_stay(tmp_path: Path, suffix: str) -> None:
    foreign = tmp_path / f".model{suffix}"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    write(tmp_path / "model", text="old")
    write(tmp_path / "model", overwrite=True)
    assert (foreign / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("suffix", [".old", ".aside"])
def test_what_a_killed_process_set_aside_is_put_back_or_removed(tmp_path: Path, suffix: str) -> None:
    aside = tmp_path / f".model{suffix}"
    write(tmp_path / "model", text="old")
    (tmp_path / "model").rename(aside)
    assert open_artifact(tmp_path / "model", step="train").params["text"] == "old"  # a reader alone
    assert names(tmp_path) == ["model"]
    (tmp_path / "model").rename(aside)
    write(tmp_path / "model", text="new", overwrite=True)
    (tmp_path / "model").rename(aside)
    write(tmp_path / "elsewhere", text="new")
    (tmp_path / "elsewhere").rename(tmp_path / "model")
    assert not write(tmp_path / "model", text="new")
    assert names(tmp_path) == ["model"]


def test_a_reader_waits_for_a_process_that_replaces_in_two_renames(tmp_path: Path) -> None:
    write(tmp_path / "model", text="old")
    aside, new = tmp_path / ".model.old", tmp_path / "new"
    write(new, text="new")
    lock = os.open(tmp_path / "model", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (tmp_path / "model").rename(aside)
    threading.Timer(0.1, lambda: new.rename(tmp_path / "model")).start()
    assert open_artifact(tmp_path / "model", step="train").params["text"] == "new"
    os.close(lock)


def test_finished_work_of_a_killed_process_is_put_in_place(tmp_path: Path) -> None:
    write(tmp_path / "model", text="new")
    (tmp_path / "model").rename(tmp_path / ".model.partial")
    assert not write(tmp_path / "model", text="new")
    assert names(tmp_path) == ["model"]
    (tmp_path / "model").rename(tmp_path / ".model.partial")
    (tmp_path / ".model.partial" / "file.txt").write_text("damaged")
    assert write(tmp_path / "model", text="new")
    assert (tmp_path / "model" / "file.txt").read_text() == "new"


def test_what_is_made_anew_stays_until_the_new_one_is_there(tmp_path: Path) -> None:
    write(tmp_path / "model", text="same")
    with made_anew():
        writer = ArtifactWriter(tmp_path / "model", step="train", params={"text": "same"}, inputs={}, overwrite=True)
        assert not writer.is_current
        with writer as directory:
            assert (tmp_path / "model" / "file.txt").read_text() == "same"
            (directory / "file.txt").write_text("anew")
    assert (tmp_path / "model" / "file.txt").read_text() == "anew"


@pytest.mark.parametrize("kind", ["file", "dangling link", "no permission"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tmp_path / "run"
    if kind == "file":
        parent.write_text("a file")
    elif kind == "dangling link":
        parent.symlink_to(tmp_path / "nowhere")
    else:
        parent.mkdir()
        monkeypatch.setattr(placing.os, "access", lambda path, mode: False)  # root may everything
    with pytest.raises(ArtifactError, match=r"cannot be written: .*; give another path"):
        ArtifactWriter(parent / "deep" / "model", step="train", params={}, inputs={})


def test_only_an_artifact_of_the_step_is_removed(tmp_path: Path) -> None:
    write(tmp_path / "model")
    (tmp_path / "link").symlink_to(tmp_path / "model")
    for path, step in ((tmp_path / "model", "extract"), (tmp_path / "link", "train")):
        with pytest.raises(ArtifactError, match="not replaced"):
            remove_artifact(path, step)
    remove_artifact(tmp_path / "model", "train")
    assert names(tmp_path) == ["link"]


# What may remove or rename: the modules that do it for all, and those that do it within a directory of their own work.
FOR_ALL = {"data_prep/durable.py", "nann/placing.py", "nann/service/store.py"}
WITHIN_OWN_WORK = {
    *("data_prep/compression.py", "data_prep/plan.py", "data_prep/planning.py", "nann/artifacts.py", "nann/replay/models.py"),
    *("nann/steps/replay.py", "nann/steps/sweep.py", "nann/training/checkpoints.py", "nann/training/records.py"),
    *("components/training_job.py", "pipelines/runner.py", "pipelines/runs.py"),
}


def test_nothing_else_removes_or_renames() -> None:
    root = Path(placing.__file__).parents[1]
    calls = re.compile(r"rmtree\(|\.unlink\(|os\.(remove|rename|replace|rmdir)\(|\.rename\(|gfile\.(remove|rename|rmtree)\(")
    sources = [path for package in ("nann", "data_prep", "components", "pipelines") for path in (root / package).rglob("*.py")]
    found = {str(path.relative_to(root)) for path in sources if calls.search(path.read_text(encoding="utf-8"))}
    assert found == FOR_ALL | WITHIN_OWN_WORK
