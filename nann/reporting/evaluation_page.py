"""The report of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nann.evaluation.verdict import verdict
from nann.reporting.page import Page, Section
from nann.reporting.quality_sections import groups_section, ranking_section
from nann.reporting.recall_sections import curve_section, recall_cards, recall_section, search_section, without_history_section

Metrics = Mapping[str, Any]


def evaluation_page(metrics: Metrics, curve: Metrics | None) -> Page:
    """The page of one evaluation.

    Args:
        metrics: the contents of ``metrics.json``.
        curve: the contents of ``curve.json``, or None when no curve was measured.
    """
    sections = evaluation_sections(metrics, curve)
    return Page(
        title="Evaluation of the exported retrieval graph",
        subtitle=f"{metrics['num_test_users']:,} users of the {metrics['split']} split, {metrics['num_items']:,} items",
        verdict=verdict(metrics),
        cards=recall_cards(metrics),
        sections=sections,
    )


def evaluation_sections(metrics: Metrics, curve: Metrics | None) -> list[Section]:
    """What every page that shows an evaluation says of it, recall first; arguments as of `evaluation_page`."""
    sections = [recall_section(metrics), ranking_section(metrics), groups_section(metrics), search_section(metrics)]
    if "without_history" in metrics:
        sections.append(without_history_section(metrics))
    if curve is not None:
        sections.append(curve_section(curve))
    return sections
