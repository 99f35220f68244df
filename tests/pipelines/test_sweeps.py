"""The spaces that come with the project can be searched, and say how."""

from pathlib import Path

import pytest

from components.configs import read_space
from nann.config import TrainConfig
from nann.sweeping.space import apply, draw, parse_space

SPACES = sorted((Path(__file__).parents[2] / "pipelines" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_every_space_holds_trials_that_training_accepts(path: Path) -> None:
    trials = draw(parse_space(read_space(path)), 20, 1)
    assert len(trials) >= 2
    for settings in trials:
        apply(TrainConfig(), settings)
    assert f"--space pipelines/sweeps/{path.name}" in path.read_text()
