"""How often the gate holds a good candidate back, and lets a worse one through: on resampled users of evaluations, without training.

    python benchmarks/gate_errors.py --evaluation runs/1/evaluation --evaluation runs/2/evaluation --dataset runs/1/dataset

Two evaluations of equally good models (seeds) on the same users give real pairs of hits and lists. In every resample users are drawn with
replacement, and which of the two models is the candidate is drawn per user, so that both have the same recall in expectation. A loss is
planted by taking away each hit of the candidate with that probability. The rules are those of `nann gate` with its default bounds.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow.parquet as pq

from nann.config import GateConfig
from nann.dataset import load_items
from nann.evaluation.best_baseline import simple_names
from nann.evaluation.contestants import category_excess
from nann.evaluation.gate import Measured, check_candidate
from nann.evaluation.metrics import catalogue_coverage

LOSSES = (0.0, 0.01, 0.03, 0.05, 0.1, 0.2)
SPOILT = (
    "none",
    "half of the users get the most popular items",
    "all users get the most popular items",
    "half of each list is one category",
)


class Evaluation:
    """Hits [S] at K by list, lists [S, K], targets [S], of the same users in the same order."""

    def __init__(self, path: Path, k: int) -> None:
        table = pq.read_table(path / "users.parquet")
        order = np.argsort(table["user_id"].to_numpy(zero_copy_only=False), kind="stable")
        ranks = {name[5:]: table[name].to_numpy()[order] for name in table.column_names if name.startswith("rank_")}
        self.hits = {name: ((rank > 0) & (rank <= k)).astype(np.float64) for name, rank in ranks.items()}
        width = min(k, min(len(rows) for rows in table["retrieved"].to_pylist()))
        self.lists = np.array([rows[:width] for rows in table["retrieved"].to_pylist()], np.int64)[order]
        self.targets = table["target_row"].to_numpy()[order]


def measured(hits: np.ndarray, lists: np.ndarray, targets: np.ndarray, categories: np.ndarray) -> Measured:
    """What the gate measures of lists; coverage, latency and size are not resampled, and equal."""
    possible = min(len(categories) - 1, lists.size)
    return Measured(
        hits=hits,
        coverage=1.0,
        catalogue_coverage=catalogue_coverage(lists, lists.shape[1], possible),
        category_excess=category_excess(lists, targets, categories),
        latency_ms=1.0,
        size_mb=1.0,
    )


def pairs(
    one: Evaluation, two: Evaluation, users: int, sets: int, seed: int
) -> Iterator[tuple[np.random.Generator, np.ndarray, np.ndarray]]:
    """Resampled users [n], and for each whether the second model is the candidate."""
    rng = np.random.default_rng(seed)
    for _ in range(sets):
        yield rng, rng.integers(len(one.targets), size=users), rng.random(users) < 0.5


def outcome(checks: list) -> str:
    """Of a candidate: passed; refused, a rule being broken; or undecided for want of users."""
    worst = {check.outcome for check in checks}
    return "refused" if "broken" in worst else "undecided" if "undecided" in worst else "passed"


def recall_rows(one: Evaluation, two: Evaluation, sizes: list[int], sets: int) -> Iterator[tuple[str, ...]]:
    """Comparison with a published version, by users and planted loss."""
    config = GateConfig(min_baseline_ratio=0)
    for users in sizes:
        for loss in LOSSES:
            found: Counter[str] = Counter()
            for rng, chosen, swap in pairs(one, two, users, sets, seed=1):
                a, b = one.hits["retrieval"][chosen], two.hits["retrieval"][chosen]
                candidate, other = np.where(swap, b, a) * (rng.random(users) >= loss), np.where(swap, a, b)
                found[outcome(only_recall(candidate, other, None, config))] += 1
            yield f"{users:,}", f"{loss:.0%}", *(f"{found[name] / sets:.1%}" for name in ("passed", "refused", "undecided"))


def baseline_rows(one: Evaluation, sizes: list[int], sets: int) -> Iterator[tuple[str, ...]]:
    """Comparison with the best simple method: the model as it is, and with hits taken away until it is only as good."""
    names = simple_names([name for name in one.hits if name not in ("all", "retrieval")])
    name = max(names, key=lambda name: one.hits[name].mean())
    gain = one.hits["retrieval"].mean() / one.hits[name].mean()
    for users in sizes:
        for what, loss in ((f"{gain:.2f} times {name}", 0.0), (f"as good as {name}", 1 - 1 / gain), (f"0.9 times {name}", 1 - 0.9 / gain)):
            found: Counter[str] = Counter()
            for rng, chosen, _ in pairs(one, one, users, sets, seed=2):
                candidate = one.hits["retrieval"][chosen] * (rng.random(users) >= loss)
                found[outcome(only_recall(candidate, None, (name, one.hits[name][chosen]), GateConfig()))] += 1
            yield f"{users:,}", what, *(f"{found[name] / sets:.1%}" for name in ("passed", "refused", "undecided"))


def only_recall(candidate: np.ndarray, other: np.ndarray | None, baseline: tuple[str, np.ndarray] | None, config: GateConfig) -> list:
    """The checks of recall; all other figures are equal and within their bounds."""

    def of(hits: np.ndarray) -> Measured:
        return Measured(hits, coverage=1, catalogue_coverage=1, category_excess=0, latency_ms=1, size_mb=1)

    return check_candidate(of(candidate), {} if other is None else {"in_service": of(other)}, baseline, config)


def spoilt(lists: np.ndarray, kind: str, popular: np.ndarray, of_category: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lists of a model that went wrong; their hits are left as they are, so that recall says nothing."""
    lists = lists.copy()
    if kind == SPOILT[1]:
        lists[rng.random(len(lists)) < 0.5] = popular[: lists.shape[1]]
    elif kind == SPOILT[2]:
        lists[:] = popular[: lists.shape[1]]
    elif kind == SPOILT[3]:
        half = lists.shape[1] // 2
        lists[:, :half] = rng.choice(of_category, (len(lists), half))
    return lists


def list_rows(one: Evaluation, two: Evaluation, dataset: Path, users: int, sets: int) -> Iterator[tuple[str, ...]]:
    """The rules about lists, by what is wrong with them."""
    items = load_items(dataset)
    categories, config = items.category_rows, GateConfig(min_baseline_ratio=0, max_recall_loss=1)
    popular = np.argsort(-items.train_counts, kind="stable")
    of_category = np.flatnonzero(categories == np.bincount(categories[1:])[1:].argmax() + 1)
    for kind in SPOILT:
        found: Counter[str] = Counter()
        for rng, chosen, swap in pairs(one, two, users, sets, seed=3):
            targets, sides = one.targets[chosen], (one.lists[chosen], two.lists[chosen])
            lists = spoilt(np.where(swap[:, np.newaxis], sides[1], sides[0]), kind, popular, of_category, rng)
            others = np.where(swap[:, np.newaxis], sides[0], sides[1])
            hits = one.hits["retrieval"][chosen]
            made = [measured(hits, each, targets, categories) for each in (lists, others)]
            checks = check_candidate(made[0], {"in_service": made[1]}, None, config)
            broken = {check.name for check in checks if not check.passed}
            found["passed"] += not broken
            found.update(broken)
        told = ", ".join(f"{name} {count / sets:.1%}" for name, count in found.items() if name != "passed")
        yield f"{users:,}", kind, f"{found['passed'] / sets:.1%}", told or "-"


def print_table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    """A table in Markdown, row by row as they come."""
    print(f"\n| {' | '.join(header)} |\n|{'---|' * len(header)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluation", type=Path, action="append", required=True, help="two of the same users, by models of equal worth")
    parser.add_argument("--dataset", type=Path, help="of both: the rules about lists are tried, too")
    parser.add_argument("--k", type=int, default=200)
    parser.add_argument("--users", type=int, nargs="*", default=[500, 1000, 2000, 4000, 10_000])
    parser.add_argument("--list-users", type=int, default=1000)
    parser.add_argument("--sets", type=int, default=500)
    options = parser.parse_args()
    one, two = (Evaluation(path, options.k) for path in options.evaluation[:2])
    print(f"recall@{options.k} {one.hits['retrieval'].mean():.4f} and {two.hits['retrieval'].mean():.4f}, {len(one.targets):,} users")
    print_table(("users", "planted loss", "passed", "refused", "undecided"), recall_rows(one, two, options.users, options.sets))
    print_table(("users", "candidate", "passed", "refused", "undecided"), baseline_rows(one, options.users, options.sets))
    if options.dataset is not None:
        rows = list_rows(one, two, options.dataset, options.list_users, options.sets)
        print_table(("users", "lists spoilt", "passed", "rules that are broken"), rows)


if __name__ == "__main__":
    main()
