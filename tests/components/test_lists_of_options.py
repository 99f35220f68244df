"""Lists and mappings on the command line: an element that cannot be is one line of error, before anything is read."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from nann.config import BenchmarkConfig
from pipelines.cli import main


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("evaluate", ["--ks", "50,0"], ["evaluate.ks", "0"]),
        ("evaluate", ["--decays", "0.5,2"], ["evaluate.decays", "2"]),
        ("tune", ["--widths", "0"], ["tune.widths", "0"]),
        ("tune", ["--graphs", "16"], ["'16' is no graph", "M:EF_CONSTRUCTION"]),
        ("tune", ["--graphs", "1:100"], ["'1:100' is no graph"]),
        ("benchmark", ["--others", "a"], ["'a' is no list of NAME=DIRECTORY"]),
    ],
)
def test_elements_that_cannot_be_are_refused_by_name(tmp_path: Path, command: str, options: list[str], words: list[str]) -> None:
    result = CliRunner().invoke(main, [command, "--output-root", str(tmp_path), *options])
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    (line,) = [line for line in result.output.splitlines() if "rror" in line]
    assert all(word in line for word in words)


def test_further_models_are_given_as_names_and_directories(tmp_path: Path) -> None:
    assert BenchmarkConfig(others="a=runs/x, b=y/z").others == {"a": "runs/x", "b": "y/z"}
    result = CliRunner().invoke(main, ["benchmark", "--others", "a=somewhere", "--output-root", str(tmp_path)])
    assert result.exit_code == 1
    assert "run `nann convert` first" in result.output or "run `nann rewrite` first" in result.output
