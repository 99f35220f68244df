"""Pages: balanced, self-contained, escaped, and holding the numbers they were given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nann.reporting.benchmark_page import benchmark_page
from nann.reporting.evaluation_page import evaluation_page
from nann.reporting.page import Card, Page, PageTable, Section, render
from nann.reporting.run_page import RunNumbers, run_page
from nann.reporting.text import list_lengths

Reader = Callable[[str], Any]
QUALITY = (
    "0.250 0.210-0.290",
    "0.200 0.100-0.500",
    "popularity_recent: hours 6 (given)",
    "item_cf: decay 0.8 (best of 2 on 30 validation users)",
    "By history length",
    "0.750",
)


@pytest.fixture(params=["evaluation", "benchmark", "run"])
def page(request: pytest.FixtureRequest, run: RunNumbers) -> Page:
    if request.param == "evaluation":
        return evaluation_page(run.metrics, run.curve)
    return benchmark_page(run.latency, run.latency_ms) if request.param == "benchmark" else run_page(run)


def test_page_stands_alone(page: Page, reader: Reader) -> None:
    html = render(page)
    found = reader(html)
    assert len(found.ids) == len(set(found.ids))
    assert all(link.startswith("#") and link[1:] in found.ids for link in found.links)
    assert not {"script", "link", "iframe", "img", "object"} & set(found.tags)
    assert "@import" not in html
    assert html == render(page)


def test_everything_given_as_text_is_escaped(reader: Reader) -> None:
    bad = "<script>alert('&')</script>"
    table = PageTable([bad, bad], [[bad, bad]], caption=bad)
    section = Section("a", bad, lead=bad, explanation=bad, tables=[table], folded=[table])
    html = render(Page(bad, bad, cards=[Card(bad, bad, bad)], sections=[section] * 3))
    found = reader(html)
    assert "script" not in found.tags
    assert found.text.count(bad) == 2 + 1 + 3 + 3 * (1 + 3 + 5 + 5)


def test_evaluation_page_names_its_numbers(metrics: dict[str, Any], curve: dict[str, Any], reader: Reader) -> None:
    text = reader(render(evaluation_page(metrics, curve))).text
    for part in (
        "0.450 0.300-0.600",
        "95 %: 95.0 % to 99.0 %",
        "item_cf",
        "97.0 %",
        "40 users of the test split",
        "× 1 (exported)",
        *QUALITY,
    ):
        assert part in text


def test_the_headline_is_the_best_baseline_of_each_length_and_no_weaker_one(metrics: dict[str, Any], reader: Reader) -> None:
    cards = {card.label: (card.value, card.note) for card in evaluation_page(metrics, None).cards}
    assert cards["against the best baseline @5"] == ("1.50 ×", "item_cf reaches 0.300")
    assert cards["against the best baseline @10"] == ("1.25 ×", "1.12 to 1.38; vsknn reaches 0.360")
    assert not any("popularity" in label or "popularity" in note for label, (_, note) in cards.items())
    metrics["ratio_to_best_baseline@5"] = None
    text = reader(render(evaluation_page(metrics, None))).text
    for part in ("exported graph / best baseline", "1.25 × 1.12 to 1.38", "vsknn: decay 0.9, own 1 (best of 1"):
        assert part in text


def test_the_verdict_stands_first(run: RunNumbers, reader: Reader) -> None:
    run.artifacts["model"].manifest["metrics"]["warnings"] = ["training was cut short"]
    html = render(run_page(run))
    assert html.index('class="verdict"') < html.index('class="cards"')
    for part in (
        "Better: recall@10 0.450 beside 0.360 of vsknn, 1.25 times that (1.12 to 1.38).",
        "Training was cut short.",
        "Train longer",
    ):
        assert part in reader(html).text


def test_evaluation_page_without_baselines_curve_and_anything_found(metrics: dict[str, Any], reader: Reader) -> None:
    for name in metrics:
        if name.startswith(("recall", "f1", "precision")):
            metrics[name] = None if "delta" in name else 0.0
    metrics["baselines"], metrics["baseline_options"], metrics["standard_errors"]["baselines"], metrics["groups"] = {}, {}, {}, {}
    metrics["best_baseline"] = {}
    assert "Quality against" not in reader(render(evaluation_page(metrics, None))).text


def test_benchmark_page_without_answers_has_no_picture(latency: dict[str, Any], reader: Reader) -> None:
    assert "svg" not in reader(render(benchmark_page(latency, np.zeros(0)))).tags


def test_run_page_shows_config_lineage_drops_and_time(run: RunNumbers, reader: Reader) -> None:
    found = reader(render(run_page(run)))
    for part in ("<b>bold</b>", "a&b.csv", "3 bad <time>", "1 min 16 s", "15.0 MB in all", "0.5 s (kept)"):
        assert part in found.text
    assert found.tags.count("svg") == 7
    assert "leave training altogether" in found.text
    by_time = dataclasses.replace(run, meta={**run.meta, "split_time": 1507852800})
    assert "Split by time" in reader(render(run_page(by_time))).text


def test_the_run_page_shows_what_was_found_without_the_history(run: RunNumbers) -> None:
    """As the evaluation's own page does."""
    names = ("coverage", "history_share", "recall_all", "recall_retrieval", "recall_unfiltered")
    values = {f"{name}@{k}": 0.4321 for name in names for k in list_lengths(run.metrics)}
    measured = {**run.metrics, "without_history": {"num_users": 31, "items_scored_mean": 250.0, **values}}
    for page in (run_page(dataclasses.replace(run, metrics=measured)), evaluation_page(measured, None)):
        html = render(page)
        assert "Without the items of the history" in html
        assert "31 of" in html
        assert "0.4321" in html
    assert "Without the items of the history" not in render(run_page(run))
