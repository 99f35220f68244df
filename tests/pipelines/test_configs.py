import re
from pathlib import Path

import pytest

from components.configs import make_config, parse_assignments, read_config_file

CONFIGS = sorted((Path(__file__).parents[2] / "pipelines" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_is_accepted(path: Path) -> None:
    sections = read_config_file(path)
    assert sections
    # What only the command can know, such as the place of a second file, stands in the command of the header.
    flags = parse_assignments(re.findall(r"--set (\S+)", path.read_text()))
    for name, values in sections.items():
        make_config(name, values, flags.get(name, {}))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_its_header_gives_the_command(path: Path) -> None:
    assert f"--config pipelines/configs/{path.name}" in path.read_text()


def test_the_one_of_make_run_is_there() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert "pipelines/configs/demo.yaml" in makefile
    assert "demo.yaml" in [path.name for path in CONFIGS]
