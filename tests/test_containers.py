"""The Dockerfiles keep what the components and their users rely on; building and trying the images is `make images`."""

import fnmatch
import re
import shutil
import subprocess
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
def test_nothing_in_it_is_for_anybody_to_write(file: Path) -> None:
    assert not re.search(r"chmod[^&|]*(777|666|[ao]\+w)", file.read_text())
    assert any("HOME=/tmp" in value for value in values(file, "ENV"))  # which is writable where the root file system is not


def test_the_image_is_tried_without_rights() -> None:
    text = (ROOT / "containers" / "smoke-test").read_text()
    for words in ("--read-only", "--user 12345", "--cap-drop ALL", "-perm -0002"):
        assert words in text, words


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


class Machine:
    """A copy of what CI runs, on a machine whose commands are shell scripts of this test and the system's own."""

    def __init__(self, directory: Path) -> None:
        self.checkout, self.commands = directory / "checkout", directory / "bin"
        self.commands.mkdir()
        for name in ("bash", "cat", "dirname", "env", "grep", "mktemp", "nice", "rm", "sed", "tail", "timeout", "true"):
            (self.commands / name).symlink_to(shutil.which(name))
        for path in (".ci/image", "containers/engine", "containers/cpu.Dockerfile"):
            (self.checkout / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, self.checkout / path)
        self.script(self.checkout / "containers" / "build-image", 'echo "noise"; echo "$1 image built by $ENGINE"')

    def script(self, path: Path, text: str) -> Path:
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)
        return path

    def run(self, program: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.checkout / program],
            env={"PATH": str(self.commands), "TMPDIR": str(self.commands), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )


NO_SERVICE = 'echo "Cannot connect to the Docker daemon" >&2; [ "$1" = --version ]'
ANSWERS = "exit 0"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_client_without_its_service_is_no_engine(machine: Machine) -> None:
    machine.script(machine.commands / "docker", NO_SERVICE)
    done = machine.run("containers/engine")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: no container engine answers (asked: docker, podman); start or install one, or give ENGINE=\n"
    machine.script(machine.commands / "podman", ANSWERS)
    assert machine.run("containers/engine").stdout == "podman\n"
    assert machine.run("containers/engine", ENGINE="docker").returncode == 1


def test_ci_says_that_it_has_no_engine(machine: Machine) -> None:
    machine.script(machine.commands / "docker", NO_SERVICE)
    done = machine.run(".ci/image")
    assert done.returncode == 0
    assert done.stderr.startswith("IMAGE SKIPPED: error: no container engine answers")
    assert "podman-setup, which would make an engine, is not there" in done.stderr
    assert machine.run(".ci/image", NANN_IMAGE="require").returncode == 1
    assert machine.run(".ci/image", NANN_IMAGE="skip").stderr == "IMAGE SKIPPED: NANN_IMAGE=skip\n"


def test_ci_makes_an_engine_where_a_tool_can(machine: Machine) -> None:
    machine.script(machine.commands / "docker", NO_SERVICE)
    works = machine.script(machine.commands / "works", 'test "$MADE" = yes')
    tool = machine.script(machine.commands / "make-engine", f"cat {works} > {machine.commands}/podman; echo 'export MADE=yes'")
    machine.script(machine.commands / "podman", NO_SERVICE)
    done = machine.run(".ci/image", NANN_ENGINE_SETUP=str(tool))
    assert (done.returncode, done.stdout) == (0, "cpu image built by podman\n"), done.stderr
    assert "no engine yet" in done.stderr


def test_ci_says_when_the_tool_could_not(machine: Machine) -> None:
    tool = machine.script(machine.commands / "make-engine", "exit 3")
    done = machine.run(".ci/image", NANN_ENGINE_SETUP=str(tool))
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].startswith("IMAGE SKIPPED: error: no container engine answers")
    assert f"and {tool} could not make an engine" in done.stderr


@pytest.mark.parametrize(("text", "code"), [("echo broken >&2; exit 7", 7), ("echo 'Could not fetch URL x'; exit 1", 0)])
def test_a_build_that_fails_fails_ci_unless_there_is_no_network(machine: Machine, text: str, code: int) -> None:
    machine.script(machine.commands / "podman", ANSWERS)
    machine.script(machine.checkout / "containers" / "build-image", text)
    done = machine.run(".ci/image")
    assert done.returncode == code
    assert ("IMAGE SKIPPED: no package index" in done.stderr) == (code == 0)


@both
def test_tests_of_the_image_read_only_what_is_copied(file: Path) -> None:
    [command] = [value for value in values(file, "RUN") if "-m pytest" in value]
    directories = re.findall(r"tests/[\w/]+", command)
    assert directories
    for path in sorted(path for directory in directories for path in (ROOT / directory).rglob("*.py")):
        lacking = re.search(r'/ "(docs|README\.md|CHANGELOG\.md|Makefile|benchmarks|examples)"', path.read_text())
        assert not lacking, f"{path} reads what the image lacks"
