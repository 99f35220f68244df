import math
import os

import pytest

from components.output import flatten_metrics, format_value, hidden_start_up_notes, markdown_summary


def test_flatten() -> None:
    nested = {"recall@50": 0.5, "baselines": {"popularity": {"recall@50": 0.25}}, "ks": [50]}
    assert list(flatten_metrics(nested)) == [("recall@50", 0.5), ("baselines.popularity.recall@50", 0.25), ("ks", [50])]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (0.123456, "0.1235"),
        (12345.678, "12,345.7"),
        (3.0, "3"),
        (True, "true"),
        (None, "none"),
        ("word", "word"),
        (math.inf, "inf"),
        (math.nan, "nan"),
        ([1, 2], "[1, 2]"),
        (list(range(100)), "[100 values]"),
    ],
)
def test_values_as_people_read_them(value, text) -> None:
    assert format_value(value) == text


def test_markdown() -> None:
    text = markdown_summary("train", "run/model", {"loss": 0.25}, reused=False, seconds=1.24)
    assert text == "# train\n\n`run/model` written in 1.2 s\n\n| metric | value |\n|---|---|\n| loss | 0.25 |\n"


def fail_noisily() -> None:
    with hidden_start_up_notes():
        os.write(2, b"the reason\n")
        raise ImportError


def test_start_up_notes_are_hidden_unless_the_import_fails(capfd) -> None:
    with hidden_start_up_notes():
        os.write(2, b"a note\n")
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError):
        fail_noisily()
    assert capfd.readouterr().err == "the reason\n"
    with hidden_start_up_notes(unless=True):
        os.write(2, b"a note\n")
    assert capfd.readouterr().err == "a note\n"
