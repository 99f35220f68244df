"""Small artifacts and services, the commands that change them, and what a reader sees of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nann.artifacts import Artifact, ArtifactWriter, open_artifact
from nann.service.shelf import Shelf, directory_of

PARTS = {
    "dataset": "convert",
    "data_check": "check-data",
    "model": "train",
    "index": "build-index",
    "converted_model": "rewrite",
    "gate": "gate",
}


def make(path: Path, step: str, files: dict[str, bytes], inputs: dict[str, Artifact] | None = None, **params: object) -> Artifact:
    with ArtifactWriter(path, step=step, params=params, inputs=inputs or {}) as directory:
        for name, content in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
    return open_artifact(path, step=step)


def make_candidate(run: Path, name: str, in_service: int | None, *, passed: bool = True) -> None:
    verdict = {"passed": passed, "version_in_service": in_service, "users": 1, "k": 1, "checks": [], "figures": {}}
    files = {part: {f"{part}.bin": f"{part} of {name}".encode() * 50} for part in PARTS}
    files["model"]["deep/weights.bin"] = name.encode() * 1000
    files["gate"] = {"gate.json": json.dumps(verdict).encode(), "report.html": b"<html></html>"}
    dataset = make(run / "dataset", "convert", files["dataset"], name=name)
    make(run / "data_check", "check-data", files["data_check"], {"dataset": dataset})
    model = make(run / "model", "train", files["model"], {"dataset": dataset}, name=name)
    index = make(run / "index", "build-index", files["index"], {"model": model, "dataset": dataset}, name=name)
    made_of = {"model": model, "dataset": dataset, "index": index}
    converted = make(run / "converted_model", "rewrite", files["converted_model"], made_of, top_k=1)
    make(run / "gate", "gate", files["gate"], {"converted_model": converted, "dataset": dataset})


def publish(root: Path, name: str, *more: str) -> list[str]:
    return [
        "publish",
        "--service",
        str(root / "service"),
        "--output-root",
        str(root / name),
        "--keep",
        "2",
        "--smoke-users",
        "0",
        "--quiet",
        *more,
    ]


def candidates(root: Path, run: Callable[[Sequence[str]], int], published: int, *, last_passes: bool = True) -> None:
    """Candidates ``c1``, ``c2``, ... , all but the last in service one after the other."""
    for number in range(1, published + 2):
        last = number == published + 1
        make_candidate(root / f"c{number}", f"c{number}", number - 1 or None, passed=last_passes or not last)
        if not last and (code := run(publish(root, f"c{number}", *(["--create"] if number == 1 else [])))):
            raise AssertionError(f"publishing c{number} ended with {code}")


def version_in_service(root: Path) -> str:
    """What a server reads: the pointer, and the version it names, every file verified."""
    if not (root / "service" / "service.json").is_file():
        return "none"
    shelf = Shelf(root / "service").require()
    pointer = shelf.pointer()
    if pointer is None:
        return "none"
    digests = shelf.description(pointer.version)["artifacts"]
    for part, step in PARTS.items():
        found = open_artifact(root / "service" / directory_of(pointer.version) / part, step=step)
        if found.digest != digests[part]:
            raise AssertionError(f"{part} of version {pointer.version} is another one")
    return str(pointer.version)


def vectors(root: Path) -> None:
    """Embeddings, and an index of them."""
    rng = np.random.default_rng(1)
    with ArtifactWriter(root / "embeddings", step="extract", params={}, inputs={}) as directory:
        np.save(directory / "item_ids.npy", np.arange(1, 41))
        np.save(directory / "item_embs.npy", rng.normal(size=(40, 4)).astype(np.float32))


def artifact(root: Path, name: str, step: str) -> str:
    """An artifact as its readers open it; which it is says the option that differs."""
    found = open_artifact(root / name, step=step)
    return str(found.params["m"] if step == "build-index" else found.params["min_user_events"])


@dataclass(frozen=True)
class Scenario:
    """A command that changes what is there.

    Attributes:
        prepare: makes what is there before, in a directory, with a function that runs a command.
        command: of a directory.
        read: what a reader sees of a directory.
        before: what that is before the command; after: when it has ended.
        exchange: whether the file system can exchange two directories.
    """

    prepare: Callable[[Path, Callable[[Sequence[str]], int]], None]
    command: Callable[[Path], list[str]]
    read: Callable[[Path], str]
    before: str
    after: str
    exchange: bool = True


def build_index(root: Path, m: int) -> list[str]:
    paths = ["--embeddings", str(root / "embeddings"), "--index", str(root / "index")]
    return ["build-index", *paths, "--m", str(m), "--overwrite", "--quiet"]


def _index(root: Path, run: Callable[[Sequence[str]], int]) -> None:
    vectors(root)
    if code := run(build_index(root, 4)):
        raise AssertionError(f"build-index ended with {code}")


def convert(root: Path, events: int) -> list[str]:
    paths = ["--input", str(root / "log.csv"), "--dataset", str(root / "dataset")]
    return ["convert", *paths, "--min-user-events", str(events), "--shards", "1", "--threads", "1", "--overwrite", "--quiet"]


def _dataset(root: Path, run: Callable[[Sequence[str]], int]) -> None:
    rows = [f"{user},{item},{item % 3},pv,{1511544070 + 60 * user + item}\n" for user in range(1, 21) for item in range(1, 4 + user % 5)]
    (root / "log.csv").write_text("".join(rows))
    if code := run(convert(root, 1)):
        raise AssertionError(f"convert ended with {code}")


def _artifact_of(name: str, step: str) -> Callable[[Path], str]:
    return lambda root: artifact(root, name, step)


def index_command(root: Path) -> list[str]:
    return build_index(root, 5)


SCENARIOS = {
    "publish": Scenario(lambda root, run: candidates(root, run, 2), lambda root: publish(root, "c3"), version_in_service, "2", "3"),
    "first": Scenario(
        lambda root, run: candidates(root, run, 0), lambda root: publish(root, "c1", "--create"), version_in_service, "none", "1"
    ),
    "refused": Scenario(
        lambda root, run: candidates(root, run, 1, last_passes=False), lambda root: publish(root, "c2"), version_in_service, "1", "1"
    ),
    "rollback": Scenario(
        lambda root, run: candidates(root, run, 2),
        lambda root: ["rollback", "--service", str(root / "service"), "--to", "1", "--quiet"],
        version_in_service,
        "2",
        "1",
    ),
    "overwrite": Scenario(_index, index_command, _artifact_of("index", "build-index"), "4", "5"),
    "overwrite in two renames": Scenario(_index, index_command, _artifact_of("index", "build-index"), "4", "5", exchange=False),
    "convert": Scenario(_dataset, lambda root: convert(root, 2), _artifact_of("dataset", "convert"), "1", "2"),
}
