"""Files and directories are put in place as a whole; no link is followed."""

import errno
import os
from pathlib import Path

import pytest

from data_prep import durable


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    durable.write_file(path, "old")
    durable.write_file(path, b"new")
    assert path.read_text() == "new"

    def write_half() -> None:
        with durable.replaced_file(path) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_what_a_link_at_the_place_of_the_partial_file_points_at_is_not_written(tmp_path: Path) -> None:
    foreign, path = tmp_path / "thesis.txt", tmp_path / "file.txt"
    foreign.write_text("years of work")
    (tmp_path / ".file.txt.partial").symlink_to(foreign)
    durable.write_file(path, "new")
    assert foreign.read_text() == "years of work"
    assert path.read_text() == "new"


def test_two_directories_change_places_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    if not durable.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange two directories")
    assert (tmp_path / "a" / "name").read_text() == "b"
    assert (tmp_path / "b" / "name").read_text() == "a"
    with pytest.raises(FileNotFoundError):
        durable.exchange(tmp_path / "a", tmp_path / "nothing")


def test_removing_a_directory_follows_no_link_and_keeps_its_mark_to_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign, ours = tmp_path / "foreign", tmp_path / "ours"
    for directory in (foreign, ours, ours / "deep"):
        directory.mkdir()
        (directory / "file").write_text("text")
    (ours / "mark").write_text("ours")
    (ours / "link").symlink_to(foreign)
    (ours / "deep" / "link").symlink_to(foreign)
    with monkeypatch.context() as patch:

        def fails(path: str) -> None:
            raise OSError(errno.EIO, "Input/output error", "file")

        patch.setattr(durable.shutil, "rmtree", fails)
        with pytest.raises(OSError, match="ours/deep"):
            durable.remove_tree(ours, last=("mark",))
    assert (ours / "mark").is_file()
    durable.remove_tree(ours, last=("mark",))
    assert not ours.exists()
    assert (foreign / "file").read_text() == "text"


def test_a_full_disk_is_told_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, durable.naming(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "x")


def test_a_second_path_is_a_link_a_copy_where_there_are_none_and_else_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("text")
    durable.link_or_copy(tmp_path / "file", tmp_path / "linked")
    assert (tmp_path / "linked").samefile(tmp_path / "file")
    with pytest.raises(FileExistsError):
        durable.link_or_copy(tmp_path / "file", tmp_path / "linked")

    def failing(number: int) -> None:
        def link(source: object, target: object) -> None:
            raise OSError(number, os.strerror(number), str(target))

        monkeypatch.setattr(os, "link", link)

    failing(errno.EXDEV)
    durable.link_or_copy(tmp_path / "file", tmp_path / "copied")
    assert (tmp_path / "copied").read_text() == "text"
    assert not (tmp_path / "copied").samefile(tmp_path / "file")
    failing(errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        durable.link_or_copy(tmp_path / "file", tmp_path / "another")
    assert not (tmp_path / "another").exists()
