"""Numbers of a small made-up run, and a strict look at a page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nann.artifacts import Artifact
from nann.reporting.run_page import RunNumbers, StepTiming

KS = (5, 10)
VOID = {"meta", "br", "hr", "img", "link", "input"}


class PageReader(HTMLParser):
    """Collects ids, links and text; refuses unbalanced tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in {"href", "xlink:href", "src", "data", "action"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(html: str) -> PageReader:
    reader = PageReader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


@pytest.fixture
def metrics() -> dict[str, Any]:
    baselines = {"popularity": 0.15, "popularity_recent": 0.12, "repeat_last": 0.05, "item_cf": 0.3, "vsknn": 0.36}
    own = {f"{name}_{kind}@{k}": 0.25 for name in ("ndcg", "mrr") for kind in ("all", "retrieval") for k in KS}
    recalls = {f"recall_{kind}@{k}": 0.4 for kind in ("all", "retrieval") for k in KS} | {
        f"{name}@{k}": 0.2 for name in baselines for k in KS
    }
    group = {"group": "0", "users": 7, **recalls, "intervals": {name: [0.1, 0.5] for name in recalls}}
    return {
        "num_test_users": 40,
        "num_items": 1000,
        "split": "test",
        "items_scored_mean": 123.5,
        "items_scored_share": 0.1235,
        **{f"recall_all@{k}": 0.5 for k in KS},
        **{f"recall_retrieval@{k}": 0.45 for k in KS},
        **{f"recall_delta@{k}": 0.1 for k in KS},
        **{f"coverage@{k}": 0.97 for k in KS},
        **{f"precision@{k}": 0.09 for k in KS},
        **{f"f1@{k}": 0.15 for k in KS},
        **{f"catalogue_coverage@{k}": 0.75 for k in KS},
        **own,
        "baselines": {
            name: {f"recall@{k}": value for k in KS}
            | {f"{metric}@{k}": 0.07 for metric in ("ndcg", "mrr", "catalogue_coverage") for k in KS}
            for name, value in baselines.items()
        },
        "best_baseline": {"name@5": "item_cf", "recall@5": 0.3, "name@10": "vsknn", "recall@10": 0.36},
        "ratio_to_best_baseline@5": 1.5,
        "ratio_to_best_baseline@10": 1.25,
        "baseline_options": {
            "item_cf": {"decay": 0.8, "tried": {"0.8": 0.3, "1": 0.2}, "ks": [5, 10], "num_users": 30},
            "popularity_recent": {"hours": 6.0, "tried": {}, "ks": [5, 10], "num_users": 0},
            "vsknn": {"own": 1.0, "decay": 0.9, "tried": {"decay 0.9, own 1": 0.3}, "ks": [5, 10], "num_users": 30},
        },
        "standard_errors": {
            **{f"{name}@{k}": 0.02 for k in KS for name in ("recall_all", "recall_retrieval", "coverage")},
            "baselines": {name: {f"recall@{k}": 0.01 for k in KS} for name in baselines},
        },
        "intervals": {
            **{name: [0.21, 0.29] for name in own},
            "ratio_to_best_baseline@10": [1.12, 1.38],
            "baselines": {name: {f"{metric}@{k}": [0.06, 0.08] for metric in ("ndcg", "mrr") for k in KS} for name in baselines},
        },
        "groups": {"target_train_events": [group, {**group, "group": "1-4"}], "history_length": [group], "target_in_history": [group]},
    }


@pytest.fixture
def curve() -> dict[str, Any]:
    points = [
        {
            "scale": scale,
            "ef": [int(8 * scale), int(4 * scale)],
            "rounds": [3, 1],
            "items_scored_mean": 100 * scale,
            "items_scored_share": 0.1 * scale,
            "exported": scale == 1,
            **{f"coverage@{k}": 0.6 + 0.1 * scale for k in KS},
            **{f"recall@{k}": 0.3 + 0.05 * scale for k in KS},
            **{f"recall_se@{k}": 0.03 for k in KS},
        }
        for scale in (0.5, 1, 2)
    ]
    return {"num_users": 20, "exact": {f"recall_all@{k}": 0.5 for k in KS}, "points": points}


@pytest.fixture
def latency_ms() -> np.ndarray:
    return np.random.default_rng(1).lognormal(1, 0.4, size=800)


@pytest.fixture
def latency(latency_ms: np.ndarray) -> dict[str, Any]:
    p50, p90, p99 = np.percentile(latency_ms, [50, 90, 99])
    return {
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "min_ms": latency_ms.min(),
        "max_ms": latency_ms.max(),
        "mean_ms": latency_ms.mean(),
        "throughput_users_per_s": 321.5,
        "requests": 800,
        "errors": 0,
        "threads": 2,
        "batch_size": 1,
        "measured_seconds": 2.5,
        "load_seconds": 0.4,
        "peak_rss_bytes": 3e8,
        "cpus": 2,
    }


@pytest.fixture
def run(metrics: dict[str, Any], curve: dict[str, Any], latency: dict[str, Any], latency_ms: np.ndarray) -> RunNumbers:
    steps = {"dataset": "convert", "model": "train", "embeddings": "extract", "index": "build-index", "converted_model": "rewrite"}
    artifacts = {
        name: Artifact(
            path=Path(name),
            digest=f"{number:064x}",
            manifest={
                "step": step,
                "params": {"seed": 1, "note": "<b>bold</b>"},
                "metrics": {"loss": 0.25, "steps": 1200},
                "lineage": {"log:a&b.csv": "ab" * 32},
                "inputs": {"log:a&b.csv": "ab" * 32},
                "files": {"a": {"size_bytes": 10**6 * (number + 1)}},
                "code_version": "0.1",
                "code_digest": "cd" * 32,
            },
        )
        for number, (name, step) in enumerate(steps.items())
    }
    training = [{"step": 10 * (i + 1), "loss": 1 / (1 + i), **({"recall_all@10": i / 80} if i % 20 == 19 else {})} for i in range(40)]
    meta = {
        "num_events": 5000,
        "num_users": 300,
        "num_items": 1000,
        "num_users_per_split": {"train": 220, "validate": 40, "test": 40},
        "num_samples": {"train": 4000, "validate": 40, "test": 40},
        "dropped_rows": {"bad <time>": 3},
    }
    timings = [StepTiming("convert", 0.5, True), StepTiming("train", 75.0, False)]
    return RunNumbers(artifacts, meta, training, metrics, curve, latency, latency_ms, timings)


@pytest.fixture
def reader() -> Any:
    return read_page
