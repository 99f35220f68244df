import io
import json
from pathlib import Path

from pipelines.tables import key_numbers, print_tables, recall_rows

METRICS = {
    "recall_all@50": 0.1,
    "recall_all@200": 0.3,
    "recall_retrieval@50": 0.1,
    "recall_retrieval@200": 0.29,
    "coverage@200": 0.97,
    "items_scored_share": 0.2,
    "baselines": {"popularity": {"recall@50": 0.02, "recall@200": 0.05}, "item_cf": {"recall@200": 0.2}},
}


def test_recall_rows() -> None:
    rows = dict(recall_rows(METRICS))
    assert rows["scorer, exact scan (recall-all)"] == {"50": "0.1000", "200": "0.3000"}
    assert rows["exact top K found (coverage)"] == {"50": "-", "200": "0.9700"}
    assert rows["baseline popularity"] == {"50": "0.0200", "200": "0.0500"}
    assert rows["baseline item-cf"] == {"50": "-", "200": "0.2000"}


def test_key_numbers() -> None:
    assert key_numbers("evaluate", METRICS).startswith("recall_all@200 0.3, recall_retrieval@200 0.29, popularity.recall@200 0.05")
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
