"""Every command in README and docs is parsed by the real command line, every link leads somewhere, every command is documented."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from data_prep.config import GenerateConfig
from data_prep.generate import generate_table
from data_prep.presets import FORMATS
from pipelines.cli import main

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")] if path.is_file())
# Words in documentation that stand for a name the reader puts in.
PLACEHOLDERS = {"STEP"}


def code_lines(text: str) -> Iterator[str]:
    """Lines of fenced and indented blocks, continuation lines joined, prompts taken off."""
    blocks = re.findall(r"(?ms)^```(?:bash|sh|console)?\n(.*?)^```", text)
    indented = re.sub(r"(?ms)^```.*?^```", "", text)
    blocks += re.findall(r"(?m)(?:^    (?:nann|make) .*(?:\n    .*)*)", indented)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            yield line.strip().removeprefix("$ ")


def without_code(page: Path) -> str:
    return re.sub(r"(?ms)^```.*?^```", "", page.read_text())


def commands(program: str) -> list[tuple[str, list[str]]]:
    """(page, words) of every call of a program in a code block."""
    found = []
    for page in PAGES:
        for line in code_lines(page.read_text()):
            for part in re.split(r"\s(?:&&|\|)\s|;", line):
                match = re.match(rf"(?:[A-Z_]+=\S+ )*{program}(?= |$)(.*)", part.strip())
                if match:
                    found.append((page.name, shlex.split(match.group(1), comments=True)))
    return found


def inline_commands() -> list[tuple[str, list[str]]]:
    """(page, words) of every `nann ...` in running text."""
    found = []
    for page in PAGES:
        found += [(page.name, words.split()) for words in re.findall(r"`nann ([^`\n]+)`", without_code(page))]
    return found


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"`nann` has no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize(("page", "words"), commands("nann"), ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_commands_in_code_blocks_parse(page: str, words: list[str]) -> None:
    command, rest = resolve(words)
    if "--help" in rest or "--version" in rest:
        return
    command.make_context("nann", rest)  # raises for an unknown option, a bad value or a missing one


@pytest.mark.parametrize(("page", "words"), inline_commands(), ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_commands_in_running_text_exist(page: str, words: list[str]) -> None:
    if words[0] in PLACEHOLDERS:
        return
    for alternative in words[-1].split("|") if "|" in words[-1] else [words[-1]]:
        command, rest = resolve([*words[:-1], alternative])
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
            "--help",
            "--version",
        }
        unknown = {word.partition("=")[0] for word in rest if word.startswith("--")} - known
        assert not unknown, f"{page}: `nann {' '.join(words)}`"


@pytest.mark.parametrize(("page", "words"), commands("make"), ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_make_targets_exist(page: str, words: list[str]) -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    assert {word for word in words if "=" not in word} <= targets


def leaves(group: click.Group, prefix: str = "nann") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


@pytest.mark.parametrize("command", list(leaves(main)))
def test_every_command_is_documented(command: str) -> None:
    assert any(command in page.read_text() for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_code(page)):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def python_names() -> set[str]:
    """Dotted names of `ops` that the pages tell a reader to use: in running text, and in what their Python code imports."""
    names = set()
    for page in PAGES:
        text = page.read_text()
        names |= set(re.findall(r"`(ops(?:\.\w+)+)", text))
        for module, imported in re.findall(r"(?m)(?<!\w)from (ops[\w.]*) import (\([^)]*\)|[\w, ]+)", text):
            names |= {f"{module}.{name}" for name in re.findall(r"\w+", imported)}
    return names


def test_documented_python_names_exist() -> None:
    names = sorted(python_names())
    assert {"ops.EmbeddingVariable", "ops.lookup.lookup_positions", "ops.v1.feature_column_ops"} <= set(names)
    code = "import pkgutil, sys; [pkgutil.resolve_name(name) for name in sys.argv[1:]]"
    for chosen in ([name for name in names if ".v1" not in name], [name for name in names if ".v1" in name]):
        done = subprocess.run([sys.executable, "-c", code, *chosen], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_the_ids_in_the_readme_are_of_the_log_that_it_generates() -> None:
    lines = [shlex.split(line, comments=True) for line in code_lines((ROOT / "README.md").read_text())]
    options = ("--item-ids", "--history", "--item")
    histories = {words[words.index(option) + 1] for words in lines if words[:1] == ["nann"] for option in options if option in words}
    assert ["nann", "generate", "--output", "log.csv.gz"] in lines
    known = set(generate_table(GenerateConfig())["item_id"].to_pylist())
    assert histories
    assert {int(item_id) for history in histories for item_id in history.split(",")} <= known


def test_make_help_lists_every_verb() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"(?m)^\.PHONY: (.*)$", text).group(1).split())
    described = set(re.findall(r"(?m)^([a-z-]+):.*## ", text))
    assert phony == described
    assert {"help", "install", "run", "test", "test-all", "lint", "bench", "compile", "images", "clean"} <= phony


def test_the_documentation_lists_every_layout_of_a_format() -> None:
    page = (ROOT / "docs" / "data.md").read_text()
    for name, layouts in FORMATS.items():
        for layout in layouts:
            assert f"| `{name}` | {layout.name} |" in page
            for option in layout.options:
                row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` | {layout.name} |"))
                assert f"--{option.replace('_', '-')} " in row
