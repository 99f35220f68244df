"""Config files as steps write them."""

import yaml

from nann.config_file import config_text


def test_an_option_a_line_and_lists_in_brackets() -> None:
    text = config_text({"build-index": {"m": 16}, "rewrite": {"ef": [400, 400, 200], "rounds": [8, 2, 1], "start_level": -1}})
    assert text == "build-index:\n  m: 16\nrewrite:\n  ef: [400, 400, 200]\n  rounds: [8, 2, 1]\n  start_level: -1\n"


def test_small_numbers_are_read_back_as_numbers() -> None:
    sections = {"train": {"learning_rate": 1e-9, "scorer": "two-sided", "xla": False, "teacher": None, "inputs": ["a" * 100, "b" * 100]}}
    assert yaml.safe_load(config_text(sections)) == sections
