"""The parts of one score, computed from the numbers that are served (the formula is in `nann/memory/table.py`).

    score = scorer + prior + memory + category + own
    scorer = item_scale[v] s(u, v)
    memory = gain[v] log(1 + c r(u, v)),  r(u, v) = the sum of weight times value over the pairs that lead from the history to v
    category = g log(1 + d k(u, v)),  k(u, v) = the mean over the history of the values that categories lead to v with

What is here says what each part is; that their sum is the score of the exported graph is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nann.memory.table import CorpusMemory


@dataclass(frozen=True)
class PairEvidence:
    """A pair of the memory that speaks for the item.

    Attributes:
        row: item row of the history's item it leads from.
        by_category: it leads from that item's category, not from the item itself.
        age: newer items in the history.
        weight: of that place of the history, which sum to 1 over a history; of its category times the rules' weight of categories.
        value: of the pair, from 0 up.
        share: of r, from 0 to 1.
    """

    row: int
    by_category: bool
    age: int
    weight: float
    value: float
    share: float


@dataclass(frozen=True)
class ScoreParts:
    """The parts of a score; in a model without a memory all but the first are 0.

    Attributes:
        scorer: the network's logit times the item's scale.
        logit, scale: its factors.
        prior: of the item, by its training events.
        memory: of pairs.
        category: for an item of the history's categories.
        own: for an item of the history itself.
        rules_score: r, from which the memory's part is made.
        category_share: k, from which the categories' part is made.
        evidence: the pairs behind it, the strongest first.
    """

    scorer: float
    logit: float
    scale: float
    prior: float = 0.0
    memory: float = 0.0
    category: float = 0.0
    own: float = 0.0
    rules_score: float = 0.0
    category_share: float = 0.0
    evidence: tuple[PairEvidence, ...] = ()

    @property
    def total(self) -> float:
        """Their sum."""
        return self.scorer + self.prior + self.memory + self.category + self.own


def parts_of(
    logit: float, position: int, history: NDArray[np.int64], category_rows: NDArray[np.int64], memory: CorpusMemory | None
) -> ScoreParts:
    """The parts of the score of the item at a position.

    Args:
        logit: of the scorer.
        position: of the item in the corpus.
        history: [L] item rows, oldest first.
        category_rows: [N + 1] category row by item row.
        memory: of the corpus; None: the logit is the score.
    """
    if memory is None:
        return ScoreParts(logit, logit, 1.0)
    newest = history[-memory.max_length :]
    ages = np.arange(len(newest))[::-1]
    decay, scale_of_rules, of_category, scale_of_share, gain_of_share = (float(number) for number in memory.numbers)
    weights = decay ** ages.astype(np.float64)
    weights = weights / max(weights.sum(), 1e-30)
    found = [
        (int(row), by_category, int(age), float(weight) * (of_category if by_category else 1.0), value)
        for row, age, weight in zip(newest, ages, weights, strict=True)
        for by_category, value in _values(memory, position, int(row), int(category_rows[row]))
    ]
    rules = sum(weight * value for *_, weight, value in found)
    share = sum(value for _, by_category, _, _, value in found if by_category) / max(len(newest), 1)
    evidence = [PairEvidence(*pair, pair[-2] * pair[-1] / rules) for pair in found if pair[-2] * pair[-1] > 0]
    scale = float(memory.item_scale[position])
    return ScoreParts(
        scorer=scale * logit,
        logit=logit,
        scale=scale,
        prior=float(memory.item_prior[position]),
        memory=float(memory.gain[position] * np.log1p(scale_of_rules * rules)),
        category=float(gain_of_share * np.log1p(scale_of_share * share)),
        own=_own(memory, position, newest),
        rules_score=rules,
        category_share=share,
        evidence=tuple(sorted(evidence, key=lambda pair: (-pair.share, pair.age, pair.by_category))),
    )


def _values(memory: CorpusMemory, position: int, row: int, category_row: int) -> Iterator[tuple[bool, float]]:
    """What an item and its category say for a position: (by category, value)."""
    num_items = len(memory.position_of_row) - 1
    for by_category, source in ((False, row), (True, num_items + category_row if category_row else 0)):
        if source:
            entries = slice(*memory.row_splits[source : source + 2])
            yield by_category, float(memory.values[entries][memory.positions[entries] == position].sum())


def _own(memory: CorpusMemory, position: int, newest: NDArray[np.int64]) -> float:
    places = np.flatnonzero(memory.position_of_row[newest] == position)
    return float(memory.own[min(len(newest) - 1 - places[-1], len(memory.own) - 1)]) if len(places) else 0.0
