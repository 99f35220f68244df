"""What compression did to a graph and what it is predicted to bring."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ops.graph_optimizer.cost import GraphCost

# Fitted by non-negative least squares of relative errors to 24 measured calls (benchmarks/compression.py) on two cores with AVX-512; the
# ratios they give were within a third of the measured ones in every case (docs/results/compression.md).
FLOPS_PER_US = 500_000.0
BYTES_PER_US = 20_000.0
US_PER_OP = 0.75
US_PER_CALL = 320.0


@dataclass(frozen=True)
class BoundaryReport:
    """One expansion.

    Attributes:
        node: the node whose value per user is expanded.
        kind: "rows", or what else is expanded (a sparse tensor's entries, a shape).
        shape: of the value per user, None where not static.
        consumers: nodes that read the expansion.
        bytes_per_item: bytes written per item row, as far as sizes are known.
    """

    node: str
    kind: str
    shape: list[int | None] | None
    consumers: list[str]
    bytes_per_item: float


@dataclass(frozen=True)
class CompressionReport:
    """The result of `compress`.

    Attributes:
        compressed: whether the graph was rewritten; if not, it is as it was and takes repeated user rows.
        reason: why not, or "".
        boundaries: where values per user are expanded.
        split: products with a concatenation that were split into a user's and an item's part.
        batched: products that are taken with a user's items side by side.
        fallbacks: nodes that were given expanded inputs because a batch-mixing op or an op without a rule reads them.
        before: cost of the graph with repeated rows.
        after: cost of the rewritten graph; equal to `before` if it was left alone.
        break_even_items: items per user from which on the rewritten graph is predicted to be no slower.
        nodes_before: nodes the outputs depend on, before.
        nodes_after: and after.
    """

    compressed: bool
    reason: str = ""
    boundaries: list[BoundaryReport] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    batched: list[str] = field(default_factory=list)
    fallbacks: list[str] = field(default_factory=list)
    before: GraphCost = field(default_factory=GraphCost)
    after: GraphCost = field(default_factory=GraphCost)
    break_even_items: float = 1.0
    nodes_before: int = 0
    nodes_after: int = 0

    def predict(self, users: int, items_per_user: float) -> dict[str, float]:
        """FLOPs, bytes and microseconds of a call before and after, and the predicted ratio of times."""
        rows = users * items_per_user
        numbers = {
            "flops_before": self.before.flops(users, rows),
            "flops_after": self.after.flops(users, rows),
            "bytes_before": self.before.bytes(users, rows),
            "bytes_after": self.after.bytes(users, rows),
        }
        before, after = predicted_us(self.before, users, rows), predicted_us(self.after, users, rows)
        return {**numbers, "us_before": before, "us_after": after, "speedup": before / after}

    def as_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return {**asdict(self), "before": self.before.as_dict(), "after": self.after.as_dict()}


def predicted_us(cost: GraphCost, users: float, rows: float) -> float:
    """Microseconds of a call on the machine the model was fitted to; ratios of them are what carries over."""
    return cost.flops(users, rows) / FLOPS_PER_US + cost.bytes(users, rows) / BYTES_PER_US + US_PER_OP * cost.ops + US_PER_CALL


def break_even(before: GraphCost, after: GraphCost) -> float:
    """Items per user at which both take equally long; infinity when the rewritten graph is never faster."""
    fixed_before, fixed_after = predicted_us(before, 0, 0), predicted_us(after, 0, 0)
    per_row = predicted_us(before, 0, 1) - fixed_before - (predicted_us(after, 0, 1) - fixed_after)
    per_user = predicted_us(after, 1, 0) - fixed_after + max(0.0, fixed_after - fixed_before)
    if per_row <= 0:
        return 1.0 if per_user <= 0 and per_row == 0 else float("inf")
    return max(1.0, per_user / per_row)
