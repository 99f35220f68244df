"""The gate: whether a candidate may take the place of the model in service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nann.config import GateConfig


@dataclass(frozen=True)
class Check:
    """One rule and how the candidate did.

    Attributes:
        name: of the figure.
        candidate: its value.
        in_service: that of the model in service; None without one.
        bound: the least or the most allowed.
        at_least: whether ``bound`` is the least.
    """

    name: str
    candidate: float
    in_service: float | None
    bound: float
    at_least: bool

    @property
    def passed(self) -> bool:
        """Whether the candidate keeps the bound; a figure that is no number does not."""
        return self.candidate >= self.bound if self.at_least else self.candidate <= self.bound

    def as_dict(self) -> dict[str, Any]:
        """For ``gate.json``."""
        return {**asdict(self), "passed": self.passed}


def check_candidate(candidate: Mapping[str, float], in_service: Mapping[str, float] | None, config: GateConfig) -> list[Check]:
    """The checks of a candidate; without a model in service those that need none.

    Args:
        candidate: ``recall``, ``coverage`` and ``latency_ms`` (median).
        in_service: the same, measured on the same users.
        config: the bounds.
    """
    checks = [Check("coverage", candidate["coverage"], None, config.min_coverage, True)]
    checks.append(Check("recall", candidate["recall"], None, config.min_recall, True))
    if config.max_latency_ms:
        checks.append(Check("latency_ms", candidate["latency_ms"], None, config.max_latency_ms, False))
    if in_service is not None:
        recall, coverage, latency = in_service["recall"], in_service["coverage"], in_service["latency_ms"]
        checks.append(Check("recall", candidate["recall"], recall, recall * (1 - config.max_recall_loss), True))
        checks.append(Check("coverage", candidate["coverage"], coverage, coverage - config.max_coverage_loss, True))
        if config.max_latency_ratio:
            checks.append(Check("latency_ms", candidate["latency_ms"], latency, latency * config.max_latency_ratio, False))
    return checks
