"""The scorers of this package. A new one is a module in `nann/models/` and an entry here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A scorer that has a short name.

    Attributes:
        location: its class as module:Class, imported when a model is made, so that help texts need no TensorFlow.
        summary: a few words for the help.
    """

    location: str
    summary: str


FAMILIES = {
    "sequence": Family("nann.models.causal:SequenceScorer", "a causal transformer over the history, inner product"),
    "nann": Family("nann.models.attention:AttentionScorer", "attention over the history"),
    "two-sided": Family("nann.models.two_sided:TwoSidedScorer", "inner product"),
    "nann-rows": Family("nann.models.attention_rows:AttentionRows", "the paper's scorer, written on rows of user and item"),
}

REMOVED = ("nann-pool", "graph")  # an earlier version had them
