"""What the gate measures of a model: its lists for the users, of a few of them the exact lists, and the latency of single requests."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.dataset import Samples
from nann.evaluation import metrics as m
from nann.evaluation.gate import Measured
from nann.evaluation.lists import chosen_users, collect_lists
from nann.evaluation.scan import exact_scan, exported_graph
from nann.export import ConvertedModel, ExportedRetrieval

USERS_SEED = 1


@dataclass(frozen=True)
class Contestant:
    """An exported model and the users as it sees them.

    Attributes:
        model: of `rewrite`.
        graph: the form of it that is asked.
        size_bytes: of that form.
        histories: [S, L] int64 item rows; those the model does not know are left out.
        category_rows: [N + 1] int category row by item row.
        inputs: by name [S, *] int64 what else the model reads, of the history moved as its items.
    """

    model: ConvertedModel
    graph: ExportedRetrieval
    size_bytes: int
    histories: NDArray[np.int64]
    category_rows: NDArray[np.integer]
    inputs: dict[str, NDArray[np.int64]]


def contestant(
    model: ConvertedModel, graph: ExportedRetrieval, size_bytes: int, samples: Samples, category_rows: NDArray[np.integer]
) -> Contestant:
    """A model with the histories as it knows them: items of later datasets are left out, and what is left moves up, in its order."""
    known = np.where(samples.histories < len(category_rows), samples.histories, 0)
    order = np.argsort(known == 0, axis=1, kind="stable")  # zeros pad at the end only
    inputs = {
        name: np.take_along_axis(samples.inputs[name], order, axis=1) if entry["side"] == "history" else samples.inputs[name]
        for name, entry in model.inputs.items()
    }
    return Contestant(model, graph, size_bytes, np.take_along_axis(known, order, axis=1).astype(np.int64), category_rows, inputs)


def measure(
    contestants: Mapping[str, Contestant], targets: NDArray[np.integer], *, k: int, batch_size: int, exact_users: int, requests: int
) -> dict[str, Measured]:
    """Measures models on the same users, their latencies in turns.

    Args:
        contestants: by name.
        targets: [S] item rows as the candidate's dataset has them; a model misses those it does not know.
        k: length K of the lists.
        batch_size: users per call.
        exact_users: users at most whose exact lists are made, for the coverage.
        requests: single requests per model.
    """
    latencies = _latencies(contestants, requests)
    lists = {name: _lists(one, k, batch_size, f"{name}, exported graph") for name, one in contestants.items()}
    places = min(max(len(one.category_rows) for one in contestants.values()) - 1, k * len(targets))
    few = chosen_users(len(targets), exact_users, seed=USERS_SEED)
    measured = {}
    for name, one in contestants.items():
        found, exact = lists[name], _exact_lists(one, few, k, batch_size, f"{name}, exact scan")
        measured[name] = Measured(
            hits=m.recall(found, targets[:, np.newaxis], k),
            coverage=float(m.coverage(found[few], exact, k).mean()),
            catalogue_coverage=m.catalogue_coverage(found, k, places),
            category_excess=category_excess(found, targets, one.category_rows),
            latency_ms=latencies[name],
            size_mb=one.size_bytes / 1e6,
        )
    return measured


def _lists(one: Contestant, k: int, batch_size: int, label: str) -> NDArray[np.int64]:
    asked: dict[str, Any] = {"width": k, "batch_size": batch_size, "inputs": one.inputs, "label": label}
    return collect_lists(exported_graph(one.graph), one.histories, one.category_rows, **asked).item_rows


def _exact_lists(one: Contestant, users: NDArray[np.int64], k: int, batch_size: int, label: str) -> NDArray[np.int64]:
    scan = exact_scan(one.model.scorer, one.model.corpus[0], top_k=k, memory=one.model.memory)
    inputs = {key: values[users] for key, values in one.inputs.items()}
    asked: dict[str, Any] = {"width": k, "batch_size": batch_size, "inputs": inputs, "label": label}
    return collect_lists(scan, one.histories[users], one.category_rows, **asked).item_rows


def category_excess(lists: NDArray[np.int64], targets: NDArray[np.integer], category_rows: NDArray[np.integer]) -> float:
    """Share of the lists' places that the category with the most of them has, less its share of the targets that the model knows.

    Args:
        lists: [S, K] item rows, 0 pads.
        targets: [S] item rows.
        category_rows: [N + 1] category row by item row, 0 for none.
    """
    counts = np.bincount(category_rows[lists[lists > 0]], minlength=int(category_rows.max(initial=0)) + 1)
    counts[0] = 0  # no category
    largest = int(np.argmax(counts))
    known = targets[targets < len(category_rows)]
    if not counts[largest] or not len(known):
        return 0.0
    return float(counts[largest] / np.count_nonzero(lists) - np.mean(category_rows[known] == largest))


def _latencies(contestants: Mapping[str, Contestant], requests: int) -> dict[str, float]:
    """Median milliseconds of one user's call, the models taking turns so that all meet the same machine."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(-1, requests):  # the first call of a graph prepares it and is not counted
        for name, one in contestants.items():
            user = [number % len(one.histories)]
            history, inputs = one.histories[user], {key: values[user] for key, values in one.inputs.items()}
            categories = one.category_rows[history].astype(np.int64)
            begin = time.perf_counter()
            one.graph.run("serving_default", item_ids=history, cate_ids=categories, **inputs)
            if number >= 0:
                taken[name].append(1000 * (time.perf_counter() - begin))
    return {name: float(np.median(values)) for name, values in taken.items()}
