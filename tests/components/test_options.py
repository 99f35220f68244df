from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel, Field

from components.options import config_options, given_values


class Everything(BaseModel):
    count: int = Field(3, ge=1, description="how many")
    share: float = Field(0.5, gt=0, lt=1, description="how much")
    kind: Literal["one", "two-three"] = Field("one", description="which")
    kinds: tuple[Literal["a", "b"], ...] = Field(("a",), description="which ones")
    sizes: tuple[int, ...] = Field((400, 200), description="how large")
    fast: bool = Field(True, description="whether")
    place: Path | None = Field(None, description="where")
    mapping: dict[str, str] = Field(default_factory=dict, description="what is what")
    word: str | None = Field(None, description="what")


def invoke(*arguments: str) -> tuple[Any, dict[str, Any]]:
    seen: dict[str, Any] = {}

    @click.command()
    @config_options(Everything)
    @click.pass_context
    def command(context: click.Context, **values: Any) -> None:
        seen.update(given_values(context, Everything))

    return CliRunner().invoke(command, arguments), seen


def test_only_what_is_on_the_command_line_is_given() -> None:
    result, seen = invoke("--count", "5", "--no-fast")
    assert result.exit_code == 0, result.output
    assert seen == {"count": 5, "fast": False}


def test_lists_of_choices() -> None:
    assert invoke("--kinds", "b,a")[1] == {"kinds": ("b", "a")}


def test_nothing_is_given_by_default() -> None:
    assert invoke()[1] == {}


def test_every_type() -> None:
    result, seen = invoke(
        *(
            "--count",
            "5",
            "--share",
            "0.25",
            "--kind",
            "two-three",
            "--sizes",
            "7, 8,9",
            "--fast",
            "--place",
            "a/b",
            "--mapping",
            "a=b,c=d",
        ),
        *("--word", "0"),
    )
    assert result.exit_code == 0, result.output
    assert seen == {
        "count": 5,
        "share": 0.25,
        "kind": "two-three",
        "sizes": (7, 8, 9),
        "fast": True,
        "place": Path("a/b"),
        "mapping": "a=b,c=d",
        "word": "0",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--count", "0"), "x>=1"),
        (("--count", "many"), "'many' is not a valid integer range"),
        (("--share", "1"), "0<x<1"),
        (("--kind", "four"), "'one', 'two-three'"),
        (("--sizes", "4,x"), "'x' is not a valid integer"),
        (("--kinds", "a,c"), "'c' is not one of 'a', 'b'"),
        (("--counts", "4"), "No such option"),
    ],
)
def test_bad_values_are_usage_errors(arguments: tuple[str, ...], message: str) -> None:
    result, _ = invoke(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_help_shows_description_default_and_bounds() -> None:
    text = " ".join(invoke("--help")[0].output.split())
    for part in (
        "--count",
        "how many",
        "default: 3; x>=1",
        "default: 400,200",
        "--fast / --no-fast",
        "[one|two-three]",
        "a|b,...",
        "KEY=VALUE,...",
    ):
        assert part in text
    assert "None" not in text
