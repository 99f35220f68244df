"""Well-known public logs: every layout is found by the name of its format, and trains."""

import importlib.util
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from data_prep.config import ConvertConfig, FormatName
from data_prep.presets import FORMATS, find_layout, resolve_format
from pipelines.cli import main

_spec = importlib.util.spec_from_file_location("format_samples", Path(__file__).with_name("format_samples.py"))
assert _spec is not None
format_samples = importlib.util.module_from_spec(_spec)
assert _spec.loader is not None
sys.modules["format_samples"] = format_samples
_spec.loader.exec_module(format_samples)
SAMPLES = list(format_samples.samples())
FIRST_OF_EACH = list({sample.format: sample for sample in reversed(SAMPLES)}.values())


def nann(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def convert(sample, directory: Path, *options: str) -> Result:
    (directory / sample.name).write_text(sample.text)
    dataset = directory / "dataset"
    return nann("convert", "--format", sample.format, "--input", directory / sample.name, "--dataset", dataset, "--quiet", *options)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.format}-{sample.name}")
def test_the_name_finds_the_layout(sample, tmp_path: Path) -> None:
    done = convert(sample, tmp_path)
    assert done.exit_code == 0, done.output
    meta = json.loads((tmp_path / "dataset" / "meta.json").read_text())
    assert (meta["num_users"], meta["num_events"], tuple(meta["time_range"])) == (len(sample.users), sample.events, sample.times)
    assert meta["dropped_rows"] == {}
    assert {str(item) for item in pq.read_table(tmp_path / "dataset" / "items.parquet")["item_id"].to_pylist()} == sample.items
    params = json.loads((tmp_path / "dataset" / "manifest.json").read_text())["params"]
    assert params["format"] == sample.format


def test_every_layout_has_a_sample(tmp_path: Path) -> None:
    found = {name: set() for name in FORMATS}
    for sample in SAMPLES:
        (tmp_path / sample.name).write_text(sample.text)
        found[sample.format].add(find_layout(sample.format, tmp_path / sample.name, ConvertConfig()).name)
    assert found == {name: {layout.name for layout in layouts} for name, layouts in FORMATS.items()}
    assert set(FORMATS) == set(FormatName.__args__)


@pytest.mark.parametrize("sample", FIRST_OF_EACH, ids=lambda sample: sample.format)
def test_it_trains(sample, tmp_path: Path) -> None:
    assert convert(sample, tmp_path).exit_code == 0
    small = ("--emb-dim", 8, "--num-neg", 8, "--batch-size", 32, "--max-length", 10, "--no-xla", "--validate-users", 0)
    done = nann("train", "--dataset", tmp_path / "dataset", "--model", tmp_path / "model", "--max-steps", 20, "--quiet", *small)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "model" / "manifest.json").is_file()


def test_options_that_are_given_count(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(next(sample.text for sample in SAMPLES if sample.name == "2019-Nov.csv"))
    config = resolve_format(ConvertConfig(format="rees46", behaviors=("view",), time_zone="+01:00"), [tmp_path / "log.csv"])
    assert (config.behaviors, config.time_zone, config.columns["item"]) == (("view",), "+01:00", "product_id")


def test_a_log_of_another_kind_is_told_the_layouts(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    done = nann("convert", "--format", "movielens", "--input", tmp_path / "log.csv", "--dataset", tmp_path / "dataset", "--quiet")
    assert done.exit_code == 1
    for layout in ("ratings.dat", "ratings.csv", "u.data", "userId, movieId, rating, timestamp"):
        assert layout in done.output


def test_help_lists_the_formats() -> None:
    text = "".join(nann("convert", "--help").output.split())
    assert all(name in text for name in FORMATS)


def test_impressions_may_be_empty_or_without_kinds(tmp_path: Path) -> None:
    lines = [f"{user},{1570000000 + step},{'a b-c d' if step % 2 else ''}" for user in range(9) for step in range(8)]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    arguments = ["--columns", "user=0,time=1,item=2", "--item-separator", " ", "--quiet"]
    assert nann("convert", "--input", tmp_path / "log.csv", "--dataset", tmp_path / "dataset", *arguments).exit_code == 0
    meta = json.loads((tmp_path / "dataset" / "meta.json").read_text())
    assert (meta["num_items"], meta["num_events"]) == (3, 9 * 4 * 3)
