"""The Dockerfile keeps what the components and their users rely on; building it is `make images`."""

import fnmatch
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILES = sorted((ROOT / "containers").glob("*.Dockerfile"))
both = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.stem)


def values(file: Path, name: str) -> list[str]:
    text = file.read_text().replace("\\\n", " ")
    instructions = [line.split(maxsplit=1) for line in text.splitlines() if re.match(r"[A-Z]+ ", line)]
    return [rest for word, rest in instructions if word == name]


def test_base_is_an_argument_and_two_stages() -> None:
    assert values("ARG")[0].startswith("BASE=docker.io/library/python:3.11-slim")
    assert values("FROM") == ["${BASE} AS builder", "${BASE}"]


def test_no_entrypoint_and_not_root() -> None:
    assert values("ENTRYPOINT") == []
    assert values("USER") == ["1000"]


def test_hnswlib_is_compiled_for_any_cpu() -> None:
    assert any("HNSWLIB_NO_NATIVE=1" in value for value in values("ENV"))


def test_all_sources_are_copied_and_not_ignored() -> None:
    copied = [word for value in values("COPY") if "--from" not in value for word in value.split()[:-1]]
    assert {"ops", "data_prep", "nann", "components", "pipelines", "CMakeLists.txt", "README.md", "pyproject.toml"} <= set(copied)
    rules = (ROOT / ".dockerignore").read_text().split()
    for path in copied:
        assert (ROOT / path).exists()
        assert any(rule.startswith("!") and fnmatch.fnmatch(path, rule[1:]) for rule in rules), (
            f"{path} is in no exception of .dockerignore"
        )
