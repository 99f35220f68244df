"""The report of the gate: what it says of a refusal, and what to do next."""

from typing import Any

import pytest

from nann.reporting.gate_page import gate_page

FIGURES = {"recall": 0.5, "coverage": 0.99, "catalogue_coverage": 0.4, "category_excess": 0.05, "latency_ms": 5.0, "size_mb": 20.0}
BEST = "sequential_rules"


def check(against: str | None, outcome: str, name: str = "recall_ratio") -> dict[str, Any]:
    told = {"candidate": 0.99, "other": 1.0, "at_least": True, "bound": 1.0, "detail": ""}
    return {"name": name, "against": against, "outcome": outcome, "passed": outcome == "kept", **told}


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ([check("in_service", "kept")], "All 1 rules are kept. Put it in service with `nann publish`."),
        ([check(BEST, "undecided")], "or allow a smaller --min-baseline-ratio."),
        ([check("in_service", "undecided"), check(BEST, "kept")], "or allow a wider --max-recall-loss."),
        ([check("in_service", "undecided"), check(BEST, "undecided")], "or allow a wider --max-recall-loss."),
        (
            [check(None, "broken", "coverage"), check(BEST, "undecided")],
            "1 of 2 rules broken: coverage of the exact list. "
            "1 of 2 rules undecided for want of users: ratio of recalls that is shown against sequential rules. What is in service stays. "
            "Look at the report of the run",
        ),
    ],
)
def test_the_verdict_says_what_is_broken_and_what_to_do(checks: list[dict[str, Any]], said: str) -> None:
    best = {"name": BEST, "recall": 0.49}
    result = {"k": 200, "version_in_service": None, "users": 900, "checks": checks, "figures": {"candidate": FIGURES}}
    assert said in " ".join(text for _, text in gate_page({**result, "best_baseline": best}).verdict)
