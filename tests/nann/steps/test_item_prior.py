"""`nann item-prior`: what its tables hold, and that they are taken only where they are shown to help; by the command line."""

import json
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from click.testing import CliRunner

from nann.item_tables import read_item_tables
from nann.serving.opened import OpenedModel
from nann.serving.places import ModelPlace
from pipelines.cli import main


def nann(*words: object) -> str:
    result = CliRunner().invoke(main, [*map(str, words), "--quiet"])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def recent(untrained_run, tmp_path_factory) -> Path:
    """The users of the run two days later, when all of them read the same few items; as a dataset of its own, with other rows."""
    root = tmp_path_factory.mktemp("recent")
    rng, log = np.random.default_rng(1), read_log(untrained_run)
    end = int(log[2].max()) + 48 * 3600
    rows = [",".join(map(str, row)) for row in zip(*log, strict=True)]
    for user in np.unique(log[0]):
        hours = np.concatenate([rng.uniform(25, 40, 4), rng.uniform(0, 20, 12)])
        items, moments = rng.choice(hot_items(untrained_run), len(hours)), end - (3600 * np.sort(hours)[::-1]).astype(int)
        rows += [f"{user},{item},{moment}" for item, moment in zip(items, moments, strict=True)]
    (root / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    nann("convert", "--input", root / "log.csv", "--dataset", root / "dataset", "--validate-users", 60, "--test-users", 0)
    return root / "dataset"


def hot_items(untrained_run) -> list[int]:
    return np.unique(read_log(untrained_run)[1])[::45].tolist()


def read_log(untrained_run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and times."""
    log = pyarrow.csv.read_csv(untrained_run.root / "log.csv", pyarrow.csv.ReadOptions(autogenerate_column_names=True))
    return log.columns[0].to_numpy(), log.columns[1].to_numpy(), log.columns[-1].to_numpy()


def make(untrained_run, output: Path, *more: object) -> tuple[dict, Path]:
    words = ["--converted-model", untrained_run.converted_model, "--dataset", untrained_run.artifacts["dataset"], "--item-prior", output]
    nann("item-prior", *words, "--k", 20, *more)
    return json.loads((output / "prior.json").read_text()), output / "item_tables.parquet"


def test_what_is_read_now_comes_first(untrained_run, recent, tmp_path):
    found, path = make(untrained_run, tmp_path / "prior", "--recent", recent)
    assert found["strength"] > 0
    assert found["recall_with"] == found["recalls"][f"{found['strength']:g}"] > 0.9
    assert found["recall_without"] < 0.5
    assert found["users"] > 20
    tables = read_item_tables(path)
    prior = dict(zip(tables.item_ids.tolist(), tables.prior.tolist(), strict=True))
    hot = hot_items(untrained_run)
    assert set(sorted(prior, key=prior.get)[-len(hot) :]) == set(hot)
    assert min(prior.values()) > 0
    assert tables.available.all()
    opened = OpenedModel(ModelPlace(untrained_run.converted_model))
    assert opened.set_item_tables(tables) == len(prior)


def test_an_event_of_a_wrong_clock_does_not_hide_the_others(untrained_run, recent, tmp_path):
    expected, _ = make(untrained_run, tmp_path / "prior", "--recent", recent)
    log = (recent.parent / "log.csv").read_text()
    ahead = expected["moment"] + 30 * 86_400
    (tmp_path / "log.csv").write_text(f"{log}77777,{hot_items(untrained_run)[0]},{ahead}\n")
    nann("convert", "--input", tmp_path / "log.csv", "--dataset", tmp_path / "dataset", "--validate-users", 60, "--test-users", 0)
    found, _ = make(untrained_run, tmp_path / "late", "--recent", tmp_path / "dataset")
    assert (found["users"], found["strength"], found["moment"]) == (0, 0, ahead + 1)
    found, tables = make(untrained_run, tmp_path / "told", "--recent", tmp_path / "dataset", "--moment", expected["moment"])
    assert found["moment"] == expected["moment"]
    assert found["strength"] > 0
    assert set(read_item_tables(tables).item_ids.tolist()) >= set(hot_items(untrained_run))
    words = ["item-prior", "--output-root", str(tmp_path), "--moment", "yesterday"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "moment" in result.output


def test_a_prior_that_is_not_shown_to_help_is_none(untrained_run, tmp_path):
    """The run's own dataset has a handful of users in its last hours."""
    found, path = make(untrained_run, tmp_path / "prior", "--window-hours", 6)
    assert found["strength"] == 0
    assert len(read_item_tables(path).item_ids) == 0


def test_items_that_are_blocked_stay_so(untrained_run, recent, tmp_path):
    (tmp_path / "blocked.csv").write_text("item_id,available,prior\n1,false,3\n2,true,1\n99999,false,0\n")
    more = ["--recent", recent, "--available", tmp_path / "blocked.csv"]
    _, path = make(untrained_run, tmp_path / "prior", *more)
    tables = read_item_tables(path)
    assert set(tables.item_ids[~tables.available].tolist()) == {1, 99999}
    _, plain = make(untrained_run, tmp_path / "plain", *more[:2])
    without = read_item_tables(plain)
    priors = dict(zip(without.item_ids.tolist(), without.prior.tolist(), strict=True))
    named = dict(zip(tables.item_ids.tolist(), tables.prior.tolist(), strict=True))
    assert {item: prior for item, prior in named.items() if item in priors} == priors


def test_a_log_without_times_has_no_prior(untrained_run, tmp_path):
    users, items, _ = read_log(untrained_run)
    rows = "".join(f"{user},{item}\n" for user, item in zip(users, items, strict=True))
    (tmp_path / "log.csv").write_text("user_id,item_id\n" + rows)
    nann("convert", "--input", tmp_path / "log.csv", "--dataset", tmp_path / "dataset", "--time", "order")
    found, path = make(untrained_run, tmp_path / "prior", "--recent", tmp_path / "dataset")
    assert (found["strength"], len(read_item_tables(path).item_ids)) == (0, 0)


def test_more_items_than_the_graph_returns_are_refused(untrained_run, tmp_path):
    words = ["--converted-model", untrained_run.converted_model, "--dataset", untrained_run.artifacts["dataset"]]
    result = CliRunner().invoke(main, [str(word) for word in ["item-prior", *words, "--item-prior", tmp_path / "prior"]])
    assert result.exit_code == 1
    assert "returns 20 items, but K = 50 is asked for; give --k up to 20" in result.output
