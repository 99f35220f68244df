"""The report of `gate`: the verdict, every rule, and the figures of all models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nann.reporting.page import Page, PageTable, Section
from nann.reporting.text import number_text, share_range_text

LABELS = {
    "users": "validation users",
    "recall": "recall",
    "recall_ratio": "ratio of recalls that is shown",
    "coverage": "coverage of the exact list",
    "catalogue_coverage": "coverage of the catalogue",
    "category_excess": "excess of one category",
    "latency_ms": "median latency, ms",
    "size_mb": "size, MB",
}
EXPLANATION = (
    "All models answer for the same validation users of the new window. Items that are new in it are unknown to earlier models, which miss "
    "them here as they do in service. The ratio of recalls is the least one that these users show; beside it stands the one found. A rule "
    "is undecided where the users are too few to show that it is kept or broken; such a candidate does not pass."
)


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
            _name(check["against"]),
            number_text(check["candidate"]),
            number_text(check["other"]),
            f"{'at least' if check['at_least'] else 'at most'} {number_text(check['bound'])}",
            check["outcome"] + (f"\n{check['detail']}" if check["detail"] else ""),
        ]
        for check in result["checks"]
    ]
    header = ("figure", "against", "candidate", "the other", "rule", "outcome")
    return Page(
        title="Gate",
        subtitle=f"candidate against {against}, {users:,} users, lists of {k}",
        verdict=_verdict(result),
        sections=[
            Section(anchor="rules", title="Rules", explanation=EXPLANATION, tables=[PageTable(header, rows, text_columns=2)]),
            _figures(result, users),
        ],
    )


def _name(against: str | None) -> str:
    return "" if against is None else against.replace("_", " ")


def _figures(result: Mapping[str, Any], users: int) -> Section:
    """A row per model, and one of the best simple method."""
    names = ("coverage", "catalogue_coverage", "category_excess", "latency_ms", "size_mb")
    rows = [
        [_name(model), _recall(figures["recall"], users), *(number_text(figures[name]) for name in names)]
        for model, figures in result["figures"].items()
    ]
    if (best := result["best_baseline"]) is not None:
        rows.append([f"{_name(best['name'])} (simple method)", _recall(best["recall"], users), *("-" for _ in names)])
    header = ("model", "recall", *(LABELS[name] for name in names))
    return Section(
        anchor="figures", title="Figures", explanation="Below each recall its Wilson 95 % interval.", tables=[PageTable(header, rows)]
    )


def _recall(value: float, users: int) -> str:
    return f"{value:.4f}\n{share_range_text(value, users, 4)}"


def _verdict(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    failed = [check for check in result["checks"] if not check["passed"]]
    if not failed:
        return [("Passed", f"All {len(result['checks'])} rules are kept."), ("Next", "Put it in service with `nann publish`.")]
    lines = []
    for outcome, what in (("broken", "broken"), ("undecided", "undecided for want of users")):
        named = [_rule(check) for check in failed if check["outcome"] == outcome]
        if named:
            lines.append(("Refused", f"{len(named)} of {len(result['checks'])} rules {what}: {', '.join(dict.fromkeys(named))}."))
    next_ = "What is in service stays. Look at the report of the run that made the candidate, or mend the rule if it is wrong."
    if all(check["outcome"] == "undecided" for check in failed):
        published = {check["against"] for check in failed} - {(result["best_baseline"] or {}).get("name")}
        wider = "a wider --max-recall-loss" if published else "a smaller --min-baseline-ratio"
        next_ = f"What is in service stays. Convert a longer window or with more --validate-users, or allow {wider}."
    return [*lines, ("Next", next_)]


def _rule(check: Mapping[str, Any]) -> str:
    return LABELS[check["name"]] + (f" against {_name(check['against'])}" if check["against"] else "")
