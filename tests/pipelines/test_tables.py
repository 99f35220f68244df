import io
import json
from pathlib import Path

from pipelines.tables import evaluation_tables, group_rows, key_numbers, print_tables, ranking_rows, recall_rows

METRICS = {
    "recall_all@50": 0.1,
    "recall_all@200": 0.3,
    "recall_retrieval@50": 0.1,
    "recall_retrieval@200": 0.29,
    "coverage@200": 0.97,
    "items_scored_share": 0.2,
    "baselines": {"popularity": {"recall@50": 0.02, "recall@200": 0.05}, "item_cf": {"recall@200": 0.2}},
    "best_baseline": {"name@50": "popularity", "recall@50": 0.02, "name@200": "item_cf", "recall@200": 0.2},
    "ratio_to_best_baseline@50": 5.0,
    "ratio_to_best_baseline@200": 1.45,
}


def test_recall_rows() -> None:
    rows = dict(recall_rows(METRICS))
    assert rows["scorer, exact scan (recall-all)"] == {"50": "0.1000", "200": "0.3000"}
    assert rows["exact top K found (coverage)"] == {"50": "-", "200": "0.9700"}
    assert rows["baseline popularity"] == {"50": "0.0200", "200": "0.0500"}
    assert rows["baseline item_cf"] == {"50": "-", "200": "0.2000"}
    assert rows["best baseline"] == {"50": "popularity", "200": "item_cf"}
    assert rows["retrieval graph / best baseline"] == {"50": "5.0000", "200": "1.4500"}


def test_intervals_places_and_groups() -> None:
    more = METRICS | {
        **{f"{name}@{k}": 0.25 for name in ("ndcg_retrieval", "mrr_retrieval", "catalogue_coverage") for k in (50, 200)},
        "baselines": {"item_cf": {f"{name}@{k}": 0.125 for name in ("recall", "ndcg", "mrr", "catalogue_coverage") for k in (50, 200)}},
        "intervals": {"recall_all@50": [0.05, 0.15], "ndcg_retrieval@50": [0.2, 0.3], "baselines": {"item_cf": {"recall@50": [0.1, 0.15]}}},
        "groups": {
            "history_length": [{"group": "0-3", "users": 1200, "recall_retrieval@200": 0.5, "recall_all@200": 0.5, "item_cf@200": 0.1}]
        },
    }
    rows = dict(recall_rows(more))
    assert rows["scorer, exact scan (recall-all)"]["50"] == "0.1000 (0.050-0.150)"
    assert rows["baseline item_cf"]["50"] == "0.1250 (0.100-0.150)"
    assert dict(ranking_rows(more))["NDCG, retrieval graph"] == {"50": "0.2500 (0.200-0.300)", "200": "0.2500"}
    assert group_rows(more) == {"history_length": [("0-3", {"users": "1,200", "graph": "0.500", "scan": "0.500", "item_cf": "0.100"})]}
    assert len(evaluation_tables(more)) == 3


def test_no_name_of_a_baseline_is_cut_off(tmp_path: Path) -> None:
    names = ("popularity", "popularity_recent", "category_popularity", "repeat_last", "item_cf", "vsknn", "sequential_rules")
    group = {"group": "0-3", "users": 1200, "recall_retrieval@200": 0.5, "recall_all@200": 0.5, **{f"{name}@200": 0.25 for name in names}}
    more = METRICS | {"baselines": {name: {"recall@200": 0.25} for name in names}, "groups": {"history_length": [group]}}
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(more))
    stream = io.StringIO()
    print_tables([], tmp_path, stream)
    text = stream.getvalue()
    assert "Recall@200 by history length" in text
    assert "…" not in text
    assert text.count("0.250") == len(names) * 2


def test_key_numbers() -> None:
    assert key_numbers("evaluate", METRICS).startswith(
        "recall_all@200 0.3, recall_retrieval@200 0.29, best_baseline.recall@200 0.2, ratio_to_best_baseline@200 1.45, coverage@200 0.97"
    )
    assert key_numbers("extract", {"num_items": 1234, "done": True, "words": "x"}) == "num_items 1,234"


def test_tables_name_steps_recall_and_report(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(METRICS))
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("<html>")
    entries = [
        {"step": "convert", "seconds": 1.25, "status": "done", "reused": False, "metrics": {"num_users": 5}},
        {"step": "train", "seconds": 0.1, "status": "done", "reused": True, "metrics": {}},
    ]
    stream = io.StringIO()
    print_tables(entries, tmp_path, stream)
    text = stream.getvalue()
    for part in (
        "convert",
        "1.2",
        "num_users 5",
        "up to date",
        "baseline popularity",
        "0.2900",
        f"report: {tmp_path / 'report' / 'report.html'}",
    ):
        assert part in text
