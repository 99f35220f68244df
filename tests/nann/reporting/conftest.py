"""Numbers of a small made-up run, and a strict look at a page."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nann.artifacts import Artifact
from nann.reporting.benchmark_page import benchmark_page
from nann.reporting.compare_page import compare_page
from nann.reporting.data_check_page import data_check_page
from nann.reporting.evaluation_page import evaluation_page
from nann.reporting.gate_page import gate_page
from nann.reporting.page import Page
from nann.reporting.replay_page import replay_page
from nann.reporting.run_page import RunNumbers, StepTiming
from nann.reporting.seeds_page import seeds_page
from nann.reporting.step_page import step_page
from nann.reporting.sweep_page import sweep_page
from nann.reporting.tuning_page import tuning_page

KS = (5, 10)
VOID = {"meta", "br", "hr", "img", "link", "input", "wbr"}


SWEEP = {
    "chosen": 0,
    "metric": "recall_all@200",
    "num_users": 68,
    "rungs": [0.5, 1.0],
    "trials": [
        {
            "trial": number,
            "settings": {"train.num_neg": 8 * (number + 1), "train.loss": "sampled-softmax", "train.learning_rate": 0.003},
            "recall": [0.5, 0.75][: 2 - number],
            "seconds": [11.5, 19.5][: 2 - number],
            "status": ("finished", "stopped")[number],
            "error": "",
        }
        for number in range(2)
    ],
}
POINT = {"graph": "exported", "start_level": -1, "items_scored_mean": 8514.5, "items_scored_share": 0.426, "p50_ms": 6.5, "recall@10": 0.75}
POINT |= {"coverage@10": 0.995, "coverage_se@10": 0.004, "recall_se@10": 0.02, "ef": [500, 400, 200], "rounds": [8, 2, 1]}
TUNING = {"k": 10, "num_users": 68, "num_items": 20_000, "exact_recall": 0.75, "chosen": 1, "reached": True}
TUNING |= {"points": [POINT, {**POINT, "graph": "48:400", "items_scored_share": 0.25, "items_scored_mean": 5000.0}]}
MEASURED = {"recall": 0.5, "coverage": 0.99, "catalogue_coverage": 0.4, "category_excess": 0.05, "latency_ms": 5.25, "size_mb": 20.5}
CHECK = {"name": "recall_ratio", "against": "in_service", "candidate": 1.01, "other": 1.02, "at_least": True, "bound": 0.97}
CHECK |= {"outcome": "kept", "passed": True, "detail": ""}
SLOW = {
    **CHECK,
    "name": "latency_ms",
    "candidate": 9.5,
    "other": 5.0,
    "bound": 7.5,
    "at_least": False,
    "outcome": "broken",
    "passed": False,
}
FEW = {**CHECK, "against": "sequential_rules", "outcome": "undecided", "passed": False, "detail": "some 3,300 users are needed"}
GATE = {"k": 200, "version_in_service": 3, "users": 900, "passed": False, "checks": [CHECK, SLOW, FEW]}
GATE |= {"figures": {"candidate": MEASURED, "in_service": MEASURED}, "best_baseline": {"name": "sequential_rules", "recall": 0.45}}
COUNTS = {"hours": [50, 70, 60], "popularity": [5, 9, 30], "activity": [0, 20, 40, 10]}
FIGURES = {"rows": 11860.0, "users": 800.0, "items": 600.0, "bad_share": 0.001, "new_items": 0.1, "new_categories": 0.0, "new_users": None}
WINDOW = {"figures": FIGURES, "counts": COUNTS, "range": [1511539369, 1512316799]}
RULE = {"name": "rows", "value": 11860.0, "past": [10000.0, 12000.0], "low": 5000.0, "high": 24000.0, "passed": True, "accepted": False}
CAUSES = {"causes": ["a part of the window is missing", "a source or a kind of events is gone"]}
VERDICT = {"passed": False, "compared": True, "windows_before": 2, "refused": ["gap_hours"]}
VERDICT |= {
    "checks": [{**RULE, **CAUSES}, {**RULE, **CAUSES, "name": "gap_hours", "value": 14.5, "low": None, "high": 10, "passed": False}]
}
ANSWERS = {f"{part}@{k}": 0.25 for part in ("recall", "recall_known", "recall_new", "recall_older") for k in KS} | {
    "users": 500,
    "known": 400,
    "new": 50,
}
METHOD = {"recall": ANSWERS, "prior_alone": ANSWERS, "held_out": {"0": ANSWERS, "1": ANSWERS}, "processor_seconds": 75.5, "steps": 1200}
METHOD |= {"wall_seconds": 50.5, "epochs": 3.0, "weight": 0.5, "table_bytes": 5_000_000, "item_rows": 1234}
METHODS = ("scratch", "warm-static", "warm-ev", "warm-adaptive")
REPLAY = {
    "config": {"ks": list(KS), "methods": list(METHODS), "window_hours": 24},
    "windows": [
        {
            "moment": 1511539200 + 86400 * number,
            "users": 500,
            "methods": dict.fromkeys(METHODS, METHOD),
            "simple": dict.fromkeys(("popularity_6h", "popularity_24h", "item_cf_48h"), ANSWERS),
        }
        for number in range(4)
    ],
}
PAIRED = {"mean_a": 0.5, "mean_b": 0.45, "difference": 0.05, "interval": [0.01, 0.09], "ratio": 1.111, "ratio_interval": [1.02, 1.2]}
PAIRED |= {"p_value": 0.0123, "test": "McNemar"}
COMPARISON = {"name_a": "runs/a/evaluation", "name_b": "runs/b/evaluation", "num_users": 900, "seeds_a": 2, "seeds_b": 1}
COMPARISON |= {"figures": dict.fromkeys(("recall@50", "recall@200", "ndcg@50", "ndcg@200"), PAIRED)}
COMPARISON |= {f"per_seed_{side}": dict.fromkeys(COMPARISON["figures"], values) for side, values in (("a", [0.5, 0.5]), ("b", [0.45]))}
SPREAD = {"values": [0.5, 0.52], "mean": 0.51, "deviation": 0.014}
SEEDS = {
    "num_users": 900,
    "figures": dict.fromkeys([f"{name}@{k}" for k in KS for name in ("recall_all", "recall_retrieval", "coverage")], SPREAD),
    "baselines": {
        name: {lists: {f"recall@{k}": PAIRED for k in KS} for lists in ("all", "retrieval")} for name in ("category_popularity", "item_cf")
    },
    "best_baseline": {f"{part}@{k}": value for k in KS for part, value in (("name", "item_cf"), ("recall", 0.45))},
    **{f"ratio_to_best_baseline@{k}": {"retrieval": {"ratio": 1.13, "interval": [1.02, 1.2]}} for k in KS},
}


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
            **{f"recall_{kind}@{k}": [0.3, 0.6] for kind in ("all", "retrieval") for k in KS},
            **{f"coverage@{k}": [0.95, 0.99] for k in KS},
            "baselines": {
                name: {f"{metric}@{k}": [0.06, 0.08] for metric in ("ndcg", "mrr") for k in KS}
                | {f"recall@{k}": [value / 2, value * 1.5] for k in KS}
                for name, value in baselines.items()
            },
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
    user = {"user_id": 77, "history": [4, 5, 6, 7], "target_row": 9, "rank_retrieval": 0, "retrieved": [3, 1, 2, 8]}
    written = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
    return RunNumbers(
        artifacts=artifacts,
        meta=meta,
        training=training,
        metrics=metrics,
        curve=curve,
        latency=latency,
        latency_ms=latency_ms,
        timings=timings,
        examples=[user],
        name=lambda row: f"item {row}",
        titled=True,
        written=written,
    )


@pytest.fixture
def pages(metrics: dict[str, Any], curve: dict[str, Any], latency: dict[str, Any], latency_ms: np.ndarray) -> dict[str, Page]:
    """The page of every step that has one, and of a comparison, of made-up numbers."""
    manifest = {"step": "evaluate", "params": {"ks": [5]}, "metrics": {"recall": 0.5}, "lineage": {"dataset": "ab" * 32}}
    manifest |= {"files": {"a.json": {"size_bytes": 5, "sha256": "cd" * 32}}, "code_version": "0.1", "code_digest": "ef" * 32}
    return {
        "evaluation": evaluation_page(metrics, curve),
        "benchmark": benchmark_page(latency, latency_ms),
        "sweep": sweep_page(SWEEP),
        "tuning": tuning_page(TUNING),
        "gate": gate_page(GATE),
        "data_check": data_check_page(VERDICT, WINDOW, [WINDOW, WINDOW]),
        "replay": replay_page(REPLAY),
        "seeds": seeds_page(SEEDS, (1, 2), KS),
        "compare": compare_page(COMPARISON, "retrieval"),
        "step": step_page(manifest),
    }


@pytest.fixture
def reader() -> Any:
    return read_page
