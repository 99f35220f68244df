"""The page of all options: current, and whole."""

from pathlib import Path

from data_prep.config import ConvertConfig
from nann.steps.table import STEPS
from pipelines.reference import page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_that_of_the_commands() -> None:
    told = "docs/options.md is not current: python -m pipelines.reference docs/options.md"
    assert (DOCS / "options.md").read_text(encoding="utf-8") == page(), told


def test_every_step_and_every_option_stands_in_it() -> None:
    text = page()
    for step in STEPS:
        assert f"## `nann {step.name}`" in text
    part = text.split("## `nann convert`")[1].split("\n## ")[0]
    for name in ConvertConfig.model_fields:
        assert f"--{name.replace('_', '-')}" in part
    assert "## `nann pipeline submit" in text
