"""The report of `gate`: the verdict, and every rule with both models' figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nann.reporting.page import Card, Page, PageTable, Section
from nann.reporting.text import share_range_text

LABELS = {"recall": "recall", "coverage": "coverage of the exact list", "latency_ms": "median latency, ms"}


def gate_page(result: Mapping[str, Any]) -> Page:
    """The page of one gate.

    Args:
        result: the contents of ``gate.json``.
    """
    k, version, figures = result["k"], result["version_in_service"], result["figures"]
    broken = [check for check in result["checks"] if not check["passed"]]
    against = "nothing in service" if version is None else f"version {version}"
    rows = [
        [
            LABELS[check["name"]],
            f"{check['candidate']:.4f}",
            "-" if check["in_service"] is None else f"{check['in_service']:.4f}",
            f"{'at least' if check['at_least'] else 'at most'} {check['bound']:.4f}",
            "kept" if check["passed"] else "broken",
        ]
        for check in result["checks"]
    ]
    return Page(
        title="Gate",
        subtitle=f"candidate against {against}, {result['users']:,} users, lists of {k}",
        cards=[
            Card("verdict", "passed" if result["passed"] else "refused", f"{len(broken)} of {len(rows)} rules broken"),
            *(
                Card(f"{name.replace('_', ' ')}: recall@{k}", f"{part['recall']:.4f}", _note(part, result["users"]))
                for name, part in figures.items()
            ),
        ],
        sections=[
            Section(
                anchor="rules",
                title="Rules",
                explanation=(
                    "Both models answer for the same users of the new window. Items that are new in it are unknown to the model in "
                    "service, which misses them here as it does there."
                ),
                tables=[PageTable(["figure", "candidate", "in service", "rule", "outcome"], rows)],
            )
        ],
    )


def _note(part: Mapping[str, float], users: int) -> str:
    return f"95 %: {share_range_text(part['recall'], users, 4)}; {part['latency_ms']:.1f} ms"
