"""The memory of a model: pair counts, and the numbers that join their score with the scorer's.

    score(u, v) = tau(n_v) s(u, v) + prior(n_v) + gain(n_v) log(1 + c r(u, v)) + g log(1 + d k(u, v)) + own(age of v in the history)

s is the scorer's logit, r the score of sequential rules without their bonus for own items (`nann.memory.rules`), n_v the item's training
events. k is the share of the history's items that are of v's category, times v's share of its category's events. tau, prior and gain are
linear between `COUNT_KNOTS` in log(1 + n), own between `AGE_KNOTS` in log(1 + age), the number of newer items in the history; where v is
not in it, own is 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_prep.json_text import write_json
from nann.contents import opening, read_json
from nann.forms import MemoryNumbers
from nann.memory.rules import CategoryShares, RuleOptions, category_shares_of, score_histories, value_of_entries

Floats = NDArray[np.float64]

NUMBERS_NAME, TABLE_NAME = "memory.json", "memory.npz"
COUNT_KNOTS = (0.0, 1.0, 4.0, 15.0, 60.0, 250.0, 1000.0, 8000.0)
AGE_KNOTS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
AGES = 64
SERVED_ITEMS_OF_CATEGORY = 256


def between_knots(values: NDArray[np.number], knots: tuple[float, ...]) -> NDArray[np.float32]:
    """[n, K] weights of the K knots for values [n]: linear in log(1 + value) between neighbouring knots, constant beyond them."""
    places = np.log1p(np.array(knots))
    x = np.clip(np.log1p(np.asarray(values, np.float64)), places[0], places[-1])
    left = np.clip(np.searchsorted(places, x, side="right") - 1, 0, len(places) - 2)
    share = (x - places[left]) / (places[left + 1] - places[left])
    weights = np.zeros((len(x), len(places)), np.float32)
    weights[np.arange(len(x)), left] = 1 - share
    weights[np.arange(len(x)), left + 1] += share
    return weights


@dataclass(frozen=True)
class Calibration:
    """The fitted numbers of the formula at the top of the module.

    Attributes:
        log_tau, log_gain, prior: [len(COUNT_KNOTS)] values at the knots, the first two as logarithms.
        own: [len(AGE_KNOTS)] values at the knots.
        log_c: logarithm of c.
        category_gain: g, at least 0.
        log_d: logarithm of d.
    """

    log_tau: tuple[float, ...] = (-0.3567,) * len(COUNT_KNOTS)
    log_gain: tuple[float, ...] = (-0.3567,) * len(COUNT_KNOTS)
    prior: tuple[float, ...] = (0.0,) * len(COUNT_KNOTS)
    own: tuple[float, ...] = (1.0,) * len(AGE_KNOTS)
    log_c: float = 6.9078
    category_gain: float = 0.0
    log_d: float = 10.0


@dataclass(frozen=True)
class MemoryTable:
    """What a model remembers (N items; arrays over items have N + 1 entries, the first of no meaning).

    Attributes:
        row_splits: [N + 2] int64; the successors of item row i are the entries row_splits[i] up to row_splits[i + 1].
        items: [entries] int32 item rows, ascending within a source.
        counts: [entries] float32, C of the pair.
        totals: [N + 1] float64, the sum of C over all items, those not kept included.
        item_counts: [N + 1] int64 training events of each item.
        options: of the rules.
        calibration: how the rules' score and the scorer's are joined.
        max_length: newest history items that are looked up.
    """

    row_splits: NDArray[np.int64]
    items: NDArray[np.int32]
    counts: NDArray[np.float32]
    totals: Floats
    item_counts: NDArray[np.int64]
    options: RuleOptions
    calibration: Calibration
    max_length: int

    def require_consistency(self) -> None:
        """Raises ValueError where the arrays do not fit together or leave their range."""
        size = len(self.item_counts)
        splits, arrays = self.row_splits, (self.row_splits, self.items, self.counts, self.totals, self.item_counts)
        kinds = [array.dtype.kind for array in arrays]
        if any(array.ndim != 1 for array in arrays) or kinds != ["i", "i", "f", "f", "i"]:
            raise ValueError("its arrays have other shapes or types than a memory")
        if len(splits) != size + 1 or len(self.totals) != size or len(self.items) != len(self.counts):
            raise ValueError("its arrays do not fit together")
        if splits[0] != 0 or splits[-1] != len(self.items) or (np.diff(splits) < 0).any():
            raise ValueError(f"its row splits must rise from 0 to {len(self.items)}")
        if len(self.items) and not 0 <= self.items.min() <= self.items.max() < size:
            raise ValueError(f"its items must be rows 0..{size - 1}")
        if self.item_counts.min(initial=0) < 0 or not (np.isfinite(self.counts).all() and np.isfinite(self.totals).all()):
            raise ValueError("its counts must be finite, those of items from 0 up")
        numbers = {name: np.shape(value) for name, value in asdict(self.calibration).items()}
        if numbers != {name: np.shape(value) for name, value in asdict(Calibration()).items()}:
            raise ValueError("its calibration has other sizes than this code's")

    def values(self) -> NDArray[np.float32]:
        """[entries] R of every entry."""
        sources = np.repeat(np.arange(len(self.item_counts)), np.diff(self.row_splits))
        return value_of_entries(self.counts, self.totals[sources], self.items, self.item_counts, self.options)

    def shares(self, category_rows: NDArray[np.integer], num_categories: int) -> CategoryShares:
        """The items of every category that are served, of the category row [N + 1] of every item."""
        return CategoryShares.of(category_rows, self.item_counts, num_categories=num_categories, keep=SERVED_ITEMS_OF_CATEGORY)

    def score(self, histories: NDArray[np.integer], category_rows: NDArray[np.integer], num_categories: int) -> sp.csr_matrix:
        """[S, N + 1] r(u, v) above 0 for histories [S, L] of item rows, oldest first, 0 is nothing."""
        size = len(self.item_counts)
        pairs = sp.csr_matrix((self.values(), self.items, self.row_splits), shape=(size, size))
        shares = self.shares(category_rows, num_categories).matrix(size)
        return score_histories(np.asarray(histories), pairs, shares, category_rows, replace(self.options, own=0.0))

    def category_score(self, histories: NDArray[np.integer], category_rows: NDArray[np.integer], num_categories: int) -> sp.csr_matrix:
        """[S, N + 1] k(u, v) above 0 for histories [S, L], as in `score`."""
        shares = self.shares(category_rows, num_categories).matrix(len(self.item_counts))
        return category_shares_of(np.asarray(histories), shares, category_rows, decay=1.0)

    def save(self, directory: Path) -> None:
        """Writes ``memory.npz`` (the arrays) and ``memory.json`` (the numbers)."""
        arrays = {name: getattr(self, name) for name in ("row_splits", "items", "counts", "totals", "item_counts")}
        np.savez(directory / TABLE_NAME, **arrays)
        numbers = {"options": asdict(self.options), "calibration": asdict(self.calibration), "max_length": self.max_length}
        write_json(directory / NUMBERS_NAME, numbers)


def load_memory(directory: Path) -> MemoryTable | None:
    """The memory of a model; None for a model without one.

    Raises:
        ArtifactError: the files cannot be read.
    """
    if not (directory / NUMBERS_NAME).is_file():
        return None
    numbers = read_json(directory / NUMBERS_NAME, MemoryNumbers, "the numbers of a memory", step="train")
    with opening(directory / TABLE_NAME, "the table of a memory", step="train"):
        calibration: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in numbers["calibration"].items()
        }
        with np.load(directory / TABLE_NAME, allow_pickle=False) as arrays:
            table = MemoryTable(
                **{name: arrays[name] for name in ("row_splits", "items", "counts", "totals", "item_counts")},
                options=RuleOptions(**numbers["options"]),
                calibration=Calibration(**calibration),
                max_length=int(numbers["max_length"]),
            )
        table.require_consistency()
        return table


@dataclass(frozen=True)
class CorpusMemory:
    """A memory over the positions of a corpus, as it is served (P positions, N items, C categories).

    Attributes:
        row_splits: [N + C + 2] int64; sources are item rows 0..N (0 has no entries), then category row c at N + c.
        positions: [entries] int32.
        values: [entries] float32 R(i, v), or of a category v's share of its events.
        own: [AGES] float32 by age; older items have the last one's.
        gain, item_scale, item_prior: [P] float32.
        position_of_row: [N + 1] int32, -1 for an item that is not in the corpus.
        numbers: [5] float32: decay, c, the rules' weight of categories, d and g.
        max_length: newest history items that are looked up.
        entries: best items of a user's memory at which a walk starts.
    """

    row_splits: NDArray[np.int64]
    positions: NDArray[np.int32]
    values: NDArray[np.float32]
    own: NDArray[np.float32]
    gain: NDArray[np.float32]
    item_scale: NDArray[np.float32]
    item_prior: NDArray[np.float32]
    position_of_row: NDArray[np.int32]
    numbers: NDArray[np.float32]
    max_length: int
    entries: int

    @classmethod
    def of(
        cls, table: MemoryTable, *, item_rows: NDArray[np.integer], category_rows: NDArray[np.integer], num_categories: int, entries: int
    ) -> CorpusMemory:
        """The memory of a corpus.

        Args:
            table: of the model.
            item_rows: [P] item row at each position, distinct.
            category_rows: [N + 1] category row by item row.
            num_categories: C.
            entries: see the attribute.
        """
        options, calibration = table.options, table.calibration
        shares, pairs = table.shares(category_rows, num_categories), table.values()
        with_categories = bool(options.category or calibration.category_gain)
        position_of_row = np.full(len(table.item_counts), -1, np.int32)
        position_of_row[item_rows] = np.arange(len(item_rows), dtype=np.int32)
        # category row 0, which has no entries, falls on the last item's end
        sizes = np.concatenate(
            [np.diff(table.row_splits), np.diff(shares.row_splits)[1:] if with_categories else np.zeros(num_categories, np.int64)]
        )
        items = np.concatenate([table.items, shares.items]) if with_categories else table.items
        values = np.concatenate([pairs, shares.shares]).astype(np.float32) if with_categories else pairs
        positions = position_of_row[items]
        kept = (positions >= 0) & (values > 0)
        owner = np.repeat(np.arange(len(sizes)), sizes)
        splits = np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=len(sizes)))]).astype(np.int64)
        weights = between_knots(table.item_counts[item_rows], COUNT_KNOTS).astype(np.float64)
        return cls(
            row_splits=splits,
            positions=positions[kept],
            values=values[kept],
            own=(between_knots(np.arange(AGES), AGE_KNOTS) @ np.array(calibration.own)).astype(np.float32),
            gain=np.exp(weights @ np.array(calibration.log_gain)).astype(np.float32),
            item_scale=np.exp(weights @ np.array(calibration.log_tau)).astype(np.float32),
            item_prior=(weights @ np.array(calibration.prior)).astype(np.float32),
            position_of_row=position_of_row,
            numbers=np.array(
                [options.decay, np.exp(calibration.log_c), options.category, np.exp(calibration.log_d), calibration.category_gain],
                np.float32,
            ),
            max_length=table.max_length,
            entries=entries,
        )
