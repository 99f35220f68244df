"""The generated log: reproducible, in the documented layout, and with a structure that popularity does not see but neighbours do."""

from pathlib import Path

import numpy as np
import pytest

from data_prep import DataError
from data_prep.config import ConvertConfig, GenerateConfig
from data_prep.convert import convert_log
from data_prep.generate import COLUMNS, WINDOW_START, generate_log, generate_table

SMALL = GenerateConfig(users=300, items=400, categories=20, events_per_user=12)


def test_equal_configs_give_equal_bytes_and_other_seeds_do_not(tmp_path: Path) -> None:
    for name, config in {"a": SMALL, "b": SMALL, "c": SMALL.model_copy(update={"seed": 2})}.items():
        generate_log(tmp_path / f"{name}.csv.gz", config)
    a, b, c = ((tmp_path / f"{name}.csv.gz").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert not list(tmp_path.glob(".*"))


def test_all_formats_hold_the_same_log(tmp_path: Path) -> None:
    reports = []
    for suffix in (".csv", ".csv.gz", ".parquet"):
        written = generate_log(tmp_path / f"log{suffix}", SMALL)
        out = tmp_path / suffix
        out.mkdir()
        report = convert_log([written.path], out, ConvertConfig())
        assert (report.num_events, report.num_users, report.num_items) == (written.num_events, written.num_users, written.num_items)
        assert report.items_with_changed_category == 0
        reports.append((out / "train-00000-of-00004.tfrecord").read_bytes())
    assert reports[0] == reports[1] == reports[2]


def test_events_lie_in_the_window_in_order() -> None:
    table = generate_table(SMALL)
    assert tuple(table.column_names) == COLUMNS
    users, times = table["user_id"].to_numpy(), table["timestamp"].to_numpy()
    assert times.min() >= WINDOW_START
    assert times.max() < WINDOW_START + SMALL.days * 86_400
    assert (np.diff(times)[np.diff(users) == 0] >= 0).all()
    assert set(table["behavior_type"].to_pylist()) <= {"pv", "fav", "cart", "buy"}
    lengths = np.unique(users, return_counts=True)[1]
    assert len(lengths) == SMALL.users
    assert lengths.min() >= 2
    assert abs(lengths.mean() / SMALL.events_per_user - 1) < 0.15


def test_popularity_does_poorly_and_neighbours_do_well() -> None:
    table = generate_table(GenerateConfig(users=2500))
    users = np.unique(table["user_id"].to_numpy(), return_inverse=True)[1]
    items = np.unique(table["item_id"].to_numpy(), return_inverse=True)[1]
    num_items = int(items.max()) + 1
    histories = np.split(items, np.flatnonzero(np.diff(users)) + 1)
    test = [history for history in histories[:300] if len(history) > 3]
    together = np.zeros((num_items, num_items), np.float32)
    for history in histories[300:]:
        distinct = np.unique(history)
        together[np.ix_(distinct, distinct)] += 1
    popularity = together.diagonal().copy()
    cosine = together / np.sqrt(np.maximum(popularity, 1))[:, None] / np.sqrt(np.maximum(popularity, 1))
    popular, near = [], []
    for history in test:
        place = 3 + (len(history) - 3) // 2
        target, before = history[place], history[:place][::-1][:20]
        scores = (0.8 ** np.arange(len(before)))[:, None] * cosine[before]
        popular.append((popularity > popularity[target]).sum() < 200)
        near.append((scores.sum(axis=0) > scores.sum(axis=0)[target]).sum() < 200)
    assert np.mean(popular) < 0.2
    assert np.mean(near) > 0.5
    assert np.mean(near) > 3 * np.mean(popular)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("log.txt", SMALL, "give a name that ends so"),
        ("no/log.csv", SMALL, "does not exist"),
        ("log.csv", GenerateConfig(items=20, categories=30), "categories 30 are more than items 20"),
    ],
)
def test_impossible_requests_are_refused(name: str, config: GenerateConfig, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        generate_log(tmp_path / name, config)
    assert not list(tmp_path.iterdir())


def test_extreme_configs_work() -> None:
    assert generate_table(GenerateConfig(users=10, items=20, categories=20, events_per_user=2)).num_rows == 20
    assert generate_table(GenerateConfig(users=10, items=20, categories=2, follow=1, noise=1, drift=1, zipf=0, days=1)).num_rows > 20
