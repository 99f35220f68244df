"""What is no service is none, and what is not ours in one stays; a service is made by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from nann.service.shelf import Shelf
from nann.service.store import Store
from pipelines.cli import main


def make_link(path: Path) -> None:
    (path.parent / "real").mkdir()
    path.symlink_to(path.parent / "real")


def make_loop(path: Path) -> None:
    path.symlink_to(path)


NO_SERVICES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "an empty directory": Path.mkdir,
    "a file": lambda path: path.write_text("years of work"),
    "a link": make_link,
    "a loop": make_loop,
    "a dangling link": lambda path: path.symlink_to(path.parent / "nowhere"),
    "another directory": lambda path: (path.mkdir(), (path / "thesis.txt").write_text("years of work")),
}


def contents(directory: Path) -> list[str]:
    return sorted(str(path) for path in directory.rglob("*"))


@pytest.mark.parametrize("kind", NO_SERVICES)
def test_what_is_no_service_is_refused_and_left_as_it_is(tmp_path: Path, kind: str) -> None:
    NO_SERVICES[kind](tmp_path / "service")
    before = contents(tmp_path)
    run = ["--output-root", str(tmp_path / "run")]
    for words in (["in-service", *run], ["publish", *run], ["rollback"]):
        result = CliRunner().invoke(main, [*words, "--service", str(tmp_path / "service"), "--quiet"])
        assert result.exit_code == 1, result.output
        assert result.output.startswith("error: "), result.output
        assert str(tmp_path / "service") in result.output
        assert result.output.count("\n") == 1
    assert contents(tmp_path) == before


def test_a_service_is_made_by_name_and_only_where_nothing_is(tmp_path: Path) -> None:
    def take(service: str, *more: str) -> object:
        words = ["in-service", "--service", str(tmp_path / service), "--in-service", str(tmp_path / f"{service}-taken"), "--quiet", *more]
        return CliRunner().invoke(main, words)

    assert take("service", "--create").exit_code == 0
    assert take("service").exit_code == 0
    (tmp_path / "mistyped").mkdir()
    (tmp_path / "mistyped" / "thesis.txt").write_text("years of work")
    result = take("mistyped", "--create")
    assert result.exit_code == 1
    assert "is not empty and holds no service" in result.output
    assert contents(tmp_path / "mistyped") == [str(tmp_path / "mistyped" / "thesis.txt")]


@pytest.mark.parametrize("name", ["versions", "refused"])
def test_a_link_within_a_service_is_not_followed(tmp_path: Path, name: str) -> None:
    shelf = Shelf(tmp_path / "service").require(create=True)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "service" / name).symlink_to(tmp_path / "foreign")
    result = CliRunner().invoke(main, ["rollback", "--service", str(tmp_path / "service")])
    assert result.exit_code == 1
    assert "is a link" in result.output
    assert shelf.store.names(name) == []


@pytest.mark.parametrize("kind", ["a directory", "a file", "a link"])
def test_what_is_not_ours_among_the_versions_stays(tmp_path: Path, kind: str) -> None:
    shelf = Shelf(tmp_path / "service").require(create=True)
    foreign, place = tmp_path / "foreign", tmp_path / "service" / "versions" / "000001"
    place.parent.mkdir()
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    if kind == "a directory":
        foreign.rename(place)
    elif kind == "a file":
        place.write_text("years of work")
    else:
        place.symlink_to(foreign)
    before = contents(tmp_path)
    assert shelf.publish({}, expected=None, keep=2) == 2
    assert set(contents(tmp_path)) >= set(before)
    assert shelf.versions() == [2]


def test_a_file_url_is_a_directory(tmp_path: Path) -> None:
    assert not Store(f"file://{tmp_path}").remote  # whose files TensorFlow would remove through links


def test_a_pointer_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "service").require(create=True)
    (tmp_path / "service" / "current.json").symlink_to("current.json")
    with pytest.raises(OSError, match="symbolic links"):
        shelf.pointer()
