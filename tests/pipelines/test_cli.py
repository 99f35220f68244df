import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import nann
from nann.errors import ArtifactError
from pipelines.cli import RootGroup, main

ROOT = Path(__file__).parents[2]


def commands(group: click.Group = main, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command of the tree, groups too."""
    found: list[tuple[str, ...]] = [prefix]
    for name, command in group.commands.items():
        found += commands(command, (*prefix, name)) if isinstance(command, click.Group) else [(*prefix, name)]
    return found


def test_all_commands_are_there() -> None:
    names = [path[0] for path in commands() if len(path) == 1]
    steps = [
        "generate",
        "convert",
        "check-data",
        "train",
        "extract",
        "build-index",
        "rewrite",
        "evaluate",
        "benchmark",
        *("tune", "sweep", "seeds"),
        *("in-service", "gate", "publish", "item-prior", "rollback", "replay"),
        *("infer", "report", "add-items", "serve", "health", "explain", "show", "compare", "inspect"),
    ]
    assert names == [*steps, "pipeline"]


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_option_and_command_has_help(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0, result.output
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            continue
        assert isinstance(parameter, click.Option)
        assert parameter.help, parameter.name


def test_help_imports_neither_tensorflow_nor_kfp() -> None:
    code = f"""
import sys
from click.testing import CliRunner
from pipelines.cli import main
for path in {commands()!r}:
    assert CliRunner().invoke(main, [*path, "--help"]).exit_code == 0, path
print(sorted({{"tensorflow", "kfp", "pyarrow", "matplotlib", "numpy", "hnswlib", "scipy", "rich"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"nann, version {nann.__version__}\n"


def failing(error: BaseException) -> click.Group:
    @click.group(cls=RootGroup)
    def root() -> None:
        """A root."""

    @root.command()
    def fail() -> None:
        """Fail."""
        raise error

    return root


def test_operator_errors_are_one_line_and_exit_1() -> None:
    result = CliRunner().invoke(failing(ArtifactError("index is gone;\nrun build-index")), ["fail"])
    assert (result.exit_code, result.stderr) == (1, "error: index is gone; run build-index\n")


def test_an_interrupt_is_one_line_and_exit_130() -> None:
    result = CliRunner().invoke(failing(KeyboardInterrupt()), ["fail"])
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_bugs_keep_their_traceback() -> None:
    result = CliRunner().invoke(failing(ZeroDivisionError("bug")), ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("arguments", [["nothing"], ["train", "--nothing"], ["pipeline", "run", "--start-from", "nothing"]])
def test_usage_errors_exit_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2
