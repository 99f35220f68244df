"""The report of `gate`: the verdict, and every rule with both models' figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nann.reporting.page import Page, PageTable, Section
from nann.reporting.text import share_range_text

LABELS = {"recall": "recall", "coverage": "coverage of the exact list", "latency_ms": "median latency, ms"}


def gate_page(result: Mapping[str, Any]) -> Page:
    """The page of one gate.

    Args:
        result: the contents of ``gate.json``.
    """
    k, version, users = result["k"], result["version_in_service"], result["users"]
    against = "nothing in service" if version is None else f"version {version}"
    rows = [
        [
            LABELS[check["name"]],
            _figure(check["name"], check["candidate"], users),
            _figure(check["name"], check["in_service"], users),
            f"{'at least' if check['at_least'] else 'at most'} {check['bound']:.4f}",
            "kept" if check["passed"] else "broken",
        ]
        for check in result["checks"]
    ]
    return Page(
        title="Gate",
        subtitle=f"candidate against {against}, {users:,} users, lists of {k}",
        verdict=_verdict(result),
        sections=[
            Section(
                anchor="rules",
                title="Rules",
                explanation=(
                    "Both models answer for the same users of the new window. Items that are new in it are unknown to the model in "
                    "service, which misses them here as it does there. The smaller figures are Wilson 95 % intervals."
                ),
                tables=[PageTable(["figure", "candidate", "in service", "rule", "outcome"], rows)],
            )
        ],
    )


def _verdict(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    broken = [check for check in result["checks"] if not check["passed"]]
    if not broken:
        return [("Passed", f"All {len(result['checks'])} rules are kept."), ("Next", "Put it in service with `nann publish`.")]
    named = ", ".join(dict.fromkeys(LABELS[check["name"]] for check in broken))
    return [
        ("Refused", f"{len(broken)} of {len(result['checks'])} rules are broken: {named}."),
        ("Next", "What is in service stays. Look at the report of the run that made the candidate, or mend the rule if it is wrong."),
    ]


def _figure(name: str, value: float | None, users: int) -> str:
    """A figure of a model; of recall with its interval."""
    if value is None:
        return "-"
    return f"{value:.4f}" + (f"\n{share_range_text(value, users, 4)}" if name == "recall" else "")
