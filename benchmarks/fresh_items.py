"""Items that appeared after training: what a model finds of them once `nann add-items` has added them, beside recent popularity.

    nann convert --input globo_clicks.csv.gz --config pipelines/configs/globo.yaml --items globo_articles.csv.gz --until 2017-10-13 \
      --test-users 0 --output-root runs/before
    nann train --output-root runs/before --candidate-id-dropout 0.2   # and extract, build-index, rewrite
    python benchmarks/fresh_items.py --log globo_clicks.csv.gz --items globo_articles.csv.gz --run runs/before --added runs/added

Users are asked for their first click of the day after the model's last event, with what they clicked before it as the history. Fresh are
items first clicked on that day, of categories that the model knows; all of them are added at once. What depends on the time is made anew
every hour, of what is known when it begins: the popularity of the last hours, and tables of items, in which an article is available once it
was created, and the prior is ``--weight`` times log(1 + clicks of the last ``--prior-hours`` hours).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow.csv

import nann
from nann.dataset import Dataset
from nann.item_tables import ItemTables

HOUR, K, LENGTH, LEAST = 3600, (50, 200), 50, 3


@dataclass(frozen=True)
class Clicks:
    """A log in order of time, and what is known of its articles."""

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    category: dict[int, int]
    created: dict[int, int]

    def between(self, since: float, until: float) -> slice:
        return slice(*np.searchsorted(self.times, [since, until]))


def read(log: Path, articles: Path) -> Clicks:
    clicks, about = pyarrow.csv.read_csv(log), pyarrow.csv.read_csv(articles)
    times = clicks["click_timestamp"].to_numpy() // 1000
    order = np.argsort(times, kind="stable")
    ids = about["article_id"].to_pylist()
    created = [(time or 0) // 1000 for time in about["created_at_ts"].to_pylist()]
    category = dict(zip(ids, about["category_id"].to_pylist(), strict=True))
    users, items = (clicks[name].to_numpy()[order] for name in ("user_id", "click_article_id"))
    return Clicks(users, items, times[order], category, dict(zip(ids, created, strict=True)))


def questions(clicks: Clicks, moment: int, users: int) -> list[tuple[int, int, list[int]]]:
    """Time, target and history of some users with enough clicks before the moment, in order of time."""
    before, day = clicks.between(0, moment), clicks.between(moment, moment + 24 * HOUR)
    asked, first = np.unique(clicks.users[day], return_index=True)
    known, counts = np.unique(clicks.users[before], return_counts=True)
    able = np.isin(asked, known[counts >= LEAST])
    chosen = np.sort(np.random.default_rng(1).permutation(np.flatnonzero(able))[:users])
    places = np.sort(first[chosen]) + day.start
    wanted = set(clicks.users[places].tolist())
    histories: dict[int, list[int]] = {user: [] for user in wanted}
    for user, item in zip(clicks.users[before].tolist(), clicks.items[before].tolist(), strict=True):
        if user in wanted:
            histories[user].append(item)
    return [(int(clicks.times[at]), int(clicks.items[at]), histories[int(clicks.users[at])][-LENGTH:]) for at in places]


def add_fresh(clicks: Clicks, moment: int, run: Path, added: Path) -> set[int]:
    """Adds what first appears on the day after the moment, and returns its ids."""
    catalogue = Dataset(run / "dataset").items()
    categories = set(catalogue.category_ids[np.unique(catalogue.category_rows)].tolist())
    seen = set(clicks.items[clicks.between(0, moment)].tolist())
    appeared = set(clicks.items[clicks.between(moment, moment + 24 * HOUR)].tolist()) - seen
    fresh = {item for item in appeared if clicks.category.get(item) in categories}
    print(f"{len(appeared):,} items appear, {len(fresh):,} of them in categories that the model knows")
    file = added.with_suffix(".csv")
    file.write_text("item_id,category_id\n" + "".join(f"{item},{clicks.category[item]}\n" for item in sorted(fresh)))
    command = [sys.executable, "-m", "pipelines.cli", "add-items", "--items", str(file), "--base", str(run), "--output-root", str(added)]
    subprocess.run([*command, "--quiet"], check=True)
    return fresh


def tables(clicks: Clicks, items: np.ndarray, hour: int, hours: float, weight: float) -> ItemTables:
    recent, counts = np.unique(clicks.items[clicks.between(hour - hours * HOUR, hour)], return_counts=True)
    count_of = dict(zip(recent.tolist(), counts.tolist(), strict=True))
    available = np.array([clicks.created.get(item, 0) <= hour for item in items.tolist()])
    return ItemTables(items, available, np.array([weight * np.log1p(count_of.get(item, 0)) for item in items.tolist()], np.float32))


def popular(clicks: Clicks, hour: int, hours: float) -> list[int]:
    items, counts = np.unique(clicks.items[clicks.between(hour - hours * HOUR, hour)], return_counts=True)
    return items[np.argsort(-counts, kind="stable")][: K[-1]].tolist()


def ask(model: nann.Retriever, histories: list[list[int]], batch: int = 32) -> list[list[int]]:
    found: list[list[int]] = []
    for begin in range(0, len(histories), batch):
        found += [answer.ids for answer in model.recommend_many(histories[begin : begin + batch], k=K[-1])]
    return found


def show(name: str, lists: list[list[int]], asked: list[tuple[int, int, list[int]]], fresh: set[int], seen: set[int]) -> None:
    """A line of the table: recall of all targets, of those known before, and of fresh ones."""
    groups = {"all": lambda _: True, "known": lambda item: item in seen, "fresh": lambda item: item not in seen}
    cells = []
    for belongs in groups.values():
        hits = [[target in found[:k] for k in K] for found, (_, target, _) in zip(lists, asked, strict=True) if belongs(target)]
        cells.append(" / ".join(f"{value:.4f}" for value in np.mean(hits, axis=0)))
    in_lists = np.mean([len(fresh.intersection(found)) for found in lists])
    print(f"| {name} | {' | '.join(cells)} | {in_lists:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("log", "items", "run", "added"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--users", type=int, default=4000)
    parser.add_argument("--prior-hours", type=float, default=6)
    parser.add_argument("--weight", type=float, default=1)
    arguments = parser.parse_args()
    clicks = read(arguments.log, arguments.items)
    moment = -(-int(Dataset(arguments.run / "dataset").meta["time_range"][1] + 1) // HOUR) * HOUR
    asked = questions(clicks, moment, arguments.users)
    fresh = add_fresh(clicks, moment, arguments.run, arguments.added)
    seen = set(clicks.items[clicks.between(0, moment)].tolist())
    new = np.mean([target not in seen for _, target, _ in asked])
    print(f"{len(asked):,} users, {new:.1%} of the targets first appear on that day")
    print("| list | all @50 / @200 | known | fresh | fresh items among 200 |\n|---|---|---|---|---|")
    hours = [hour * HOUR for hour in range(moment // HOUR, moment // HOUR + 24)]
    of_hour = [[question for question in asked if hour <= question[0] < hour + HOUR] for hour in hours]
    for window in (1, 6, 24):
        lists = [popular(clicks, hour, window) for hour, some in zip(hours, of_hour, strict=True) for _ in some]
        show(f"popularity of the last {window} h", lists, asked, fresh, seen)
    histories = [history for _, _, history in asked]
    show("the model as trained", ask(nann.Retriever.load(arguments.run), histories), asked, fresh, seen)
    model = nann.Retriever.load(arguments.added)
    show("with the items added", ask(model, histories), asked, fresh, seen)
    ids = Dataset(arguments.added / "dataset").items().item_ids[1:]
    for name, weight in (("available once created", 0.0), (f"and the prior of {arguments.prior_hours:g} h", arguments.weight)):
        lists = []
        for hour, some in zip(hours, of_hour, strict=True):
            model.set_item_tables(tables(clicks, ids, hour, arguments.prior_hours, weight))
            lists += ask(model, [history for _, _, history in some])
        show(name, lists, asked, fresh, seen)


if __name__ == "__main__":
    main()
