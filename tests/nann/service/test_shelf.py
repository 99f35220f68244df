"""Versions and the pointer: in a directory and in an object store, switched as a whole, kept, rolled back, and killed at every point."""

import json
import os
import uuid
from pathlib import Path

import pytest
import tensorflow as tf

from nann.artifacts import Artifact, ArtifactWriter, open_artifact
from nann.errors import ArtifactError
from nann.service.shelf import Pointer, Shelf
from nann.service.store import Store


def make_candidate(directory: Path, name: str) -> dict[str, Artifact]:
    """Artifacts as `publish` hands them over; their content is the name."""
    found = {}
    for part, step in (("dataset", "convert"), ("model", "train"), ("converted_model", "rewrite"), ("gate", "gate")):
        writer = ArtifactWriter(directory / name / part, step=step, params={"name": name}, inputs={})
        with writer as inside:
            (inside / "deep").mkdir()
            (inside / "deep" / "file.txt").write_text(f"{part} of {name}")
        found[part] = open_artifact(directory / name / part, step=step)
    return found


@pytest.fixture(params=["directory", "object store"])
def root(request, tmp_path) -> str:
    place = str(tmp_path / "service") if request.param == "directory" else f"ram://service-{uuid.uuid4()}"
    Shelf(place).require(create=True)
    return place


def content(shelf: Shelf) -> str:
    """What a server that follows the pointer reads."""
    version = json.loads(shelf.store.read("current.json"))["version"]
    return shelf.store.read(f"versions/{version:06d}/converted_model/deep/file.txt")


def test_versions_follow_one_another_and_the_last_are_kept(root, tmp_path):
    shelf, expected = Shelf(root), None
    assert shelf.pointer() is None
    for number in range(1, 6):
        assert shelf.publish(make_candidate(tmp_path, f"c{number}"), expected=expected, keep=3) == number
        assert content(shelf) == f"converted_model of c{number}"
        expected = number
    assert shelf.pointer() == Pointer(5, (4, 3), 5)
    assert shelf.versions() == [3, 4, 5]


def test_rolling_back_and_publishing_again(root, tmp_path):
    shelf = Shelf(root)
    for number in (1, 2, 3):
        shelf.publish(make_candidate(tmp_path, f"c{number}"), expected=number - 1 or None, keep=5)
    assert shelf.rollback() == Pointer(2, (1,), 3)
    assert content(shelf) == "converted_model of c2"
    assert shelf.rollback(3) == Pointer(3, (1,), 3)
    assert shelf.rollback(1) == Pointer(1, (), 3)
    with pytest.raises(ArtifactError, match="there is none before it"):
        shelf.rollback()
    with pytest.raises(ArtifactError, match=r"versions that are: 1, 2, 3; choose one"):
        shelf.rollback(9)
    assert shelf.publish(make_candidate(tmp_path, "c4"), expected=1, keep=5) == 4
    assert shelf.pointer() == Pointer(4, (1,), 4)
    assert shelf.versions() == [1, 4]  # 2 and 3 were given up


def test_the_same_candidate_again_changes_nothing(root, tmp_path):
    shelf, candidate = Shelf(root), make_candidate(tmp_path, "c1")
    assert shelf.publish(candidate, expected=None, keep=3) == shelf.publish(candidate, expected=None, keep=3) == 1
    assert shelf.pointer() == Pointer(1, (), 1)


def test_another_version_in_service_than_compared_with_is_refused(root, tmp_path):
    shelf = Shelf(root)
    shelf.publish(make_candidate(tmp_path, "c1"), expected=None, keep=3)
    with pytest.raises(ArtifactError, match=r"compared with version none, but 1 is in service.*run the pipeline again"):
        shelf.publish(make_candidate(tmp_path, "c2"), expected=None, keep=3)
    assert content(shelf) == "converted_model of c1"


def test_refused_candidates_are_kept_with_their_report(root, tmp_path):
    shelf = Shelf(root)
    names = [shelf.refuse(make_candidate(tmp_path, f"r{number}"), keep=2) for number in range(4)]
    assert shelf.store.names("refused") == sorted(name.removeprefix("refused/") for name in names[2:])
    assert shelf.store.read(f"{names[3]}/gate/deep/file.txt") == "gate of r3"
    assert shelf.pointer() is None


class Killed(BaseException):
    pass


def test_killed_at_every_point_the_old_or_the_new_version_is_in_service(root, tmp_path, monkeypatch):
    """Every file operation of a publication in turn is the one during which the process ends."""
    first, second = make_candidate(tmp_path, "c1"), make_candidate(tmp_path, "c2")
    operations = ("_copy", "write", "remove")
    seen = set()
    for last in range(1, 60):
        place = f"{root}-{last}"
        shelf = Shelf(place).require(create=True)
        shelf.publish(first, expected=None, keep=2)
        count = 0
        with monkeypatch.context() as patch:
            for name in operations:
                original = getattr(Store, name)

                def stopped(self, *arguments, name=name, original=original, last=last):
                    nonlocal count
                    count += 1
                    if count == last:
                        if name == "write" and arguments[0].startswith("versions/"):  # half a version.json is none: objects appear whole
                            raise Killed
                        if name != "write":
                            raise Killed
                        original(self, *arguments)  # the pointer is replaced, and then it ends
                        raise Killed
                    return original(self, *arguments)

                patch.setattr(Store, name, stopped)
            try:
                shelf.publish(second, expected=1, keep=2)
                break
            except Killed:
                pass
        seen.add(content(Shelf(place)))
        assert Shelf(place).publish(second, expected=1, keep=2) == 2
        assert content(Shelf(place)) == "converted_model of c2"
        assert Shelf(place).versions() == [1, 2]
    else:
        pytest.fail("a publication took more operations than were tried")
    assert seen == {"converted_model of c1", "converted_model of c2"}


def test_a_pointer_is_never_half_written(tmp_path, monkeypatch):
    """In a directory the text goes to another file first: a process that ends while writing leaves the old pointer."""
    store = Store(tmp_path / "service")
    store.write("current.json", "old")

    def ends(source, target):
        raise Killed

    monkeypatch.setattr(os, "replace", ends)
    with pytest.raises(Killed):
        store.write("current.json", "new")
    assert store.read("current.json") == "old"


def test_one_publication_at_a_time_in_a_directory(tmp_path):
    shelf = Shelf(tmp_path / "service").require(create=True)
    with Store(tmp_path / "service").locked(), pytest.raises(ArtifactError, match="another process is changing what is in service"):
        shelf.publish(make_candidate(tmp_path, "c1"), expected=None, keep=3)


def test_a_broken_pointer_is_named_and_can_be_mended(root, tmp_path):
    shelf = Shelf(root)
    shelf.publish(make_candidate(tmp_path, "c1"), expected=None, keep=3)
    shelf.store.write("current.json", "{")
    with pytest.raises(ArtifactError, match="is not a pointer"):
        shelf.pointer()
    shelf.rollback(1)
    assert shelf.pointer() == Pointer(1, (), 1)


def test_trees_come_back_as_they_went(root, tmp_path):
    store = Store(root)
    for name in ("a.bin", "below/b.bin", "below/deeper/c.bin"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(name.encode() * 1000)
    store.put_tree(tmp_path / "tree", "versions/000001/model")
    store.get_tree("versions/000001/model", tmp_path / "back")
    files = {path.relative_to(tmp_path / "back").as_posix(): path.read_bytes() for path in (tmp_path / "back").rglob("*") if path.is_file()}
    assert files == {name: name.encode() * 1000 for name in ("a.bin", "below/b.bin", "below/deeper/c.bin")}
    store.remove("versions")
    assert not tf.io.gfile.exists(store.place("versions/000001/model/a.bin"))
    store.remove("versions")


def test_a_version_that_cannot_be_read_is_withdrawn(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "service").require(create=True)
    for number in (1, 2):
        shelf.publish(make_candidate(tmp_path, f"c{number}"), expected=number - 1 or None, keep=3)
    (tmp_path / "service" / "versions" / "000002" / "version.json").write_text("{")
    with pytest.raises(ArtifactError, match="version 1 is not in service"):
        shelf.withdraw(1)
    assert shelf.withdraw(2) == 1
    assert shelf.pointer() == Pointer(1, (), 2)
    assert shelf.versions() == [1]
    assert shelf.withdraw(1) is None
    assert shelf.pointer() is None
    assert Shelf(tmp_path / "service").require().versions() == []
