"""The Dockerfiles keep what the components and their users rely on; building and trying the images is `make images`."""

import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILES = sorted((ROOT / "containers").glob("*.Dockerfile"))
both = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.stem)


def values(file: Path, name: str) -> list[str]:
    text = file.read_text().replace("\\\n", " ")
    instructions = [line.split(maxsplit=1) for line in text.splitlines() if re.match(r"[A-Z]+ ", line)]
    return [rest for word, rest in instructions if word == name]


@both
def test_base_is_an_argument_and_the_wheel_is_built_and_tested_in_stages(file: Path) -> None:
    assert values(file, "ARG")[0].startswith("BASE=")
    assert values(file, "FROM") == ["${BASE} AS builder", "builder AS test", "${BASE}"]
    # The last stage takes something from the tests, or engines would leave them out.
    assert any(value.startswith("--from=test") for value in values(file, "COPY"))


@both
def test_no_entrypoint_and_not_root(file: Path) -> None:
    assert values(file, "ENTRYPOINT") == []
    assert values(file, "USER") == ["1000"]


@both
def test_labels_say_what_is_in_it(file: Path) -> None:
    [labels] = values(file, "LABEL")
    assert {"title", "description", "version", "revision"} <= set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels))


@both
def test_compiled_code_runs_on_any_cpu(file: Path) -> None:
    assert any("HNSWLIB_NO_NATIVE=1" in value for value in values(file, "ENV"))
    assert "march=native" not in (ROOT / "CMakeLists.txt").read_text()


@both
def test_requirements_are_installed_by_hash(file: Path) -> None:
    flavour = file.name.partition(".")[0]
    installs = [command for value in values(file, "RUN") for command in re.findall(r"pip install [^&|]*", value)]
    assert any(f"{flavour}.lock" in install for install in installs)
    for install in installs:
        assert "--require-hashes" in install or "--no-deps /wheels/" in install, install


@both
def test_all_sources_are_copied_and_not_ignored(file: Path) -> None:
    copied = [word for value in values(file, "COPY") if "--from" not in value for word in value.split()[:-1]]
    assert {"ops", "data_prep", "nann", "components", "pipelines", "CMakeLists.txt", "README.md", "pyproject.toml"} <= set(copied)
    rules = (ROOT / ".dockerignore").read_text().split()
    for path in copied:
        assert (ROOT / path).exists()
        assert any(rule.startswith("!") and fnmatch.fnmatch(path, rule[1:]) for rule in rules), (
            f"{path} is in no exception of .dockerignore"
        )
