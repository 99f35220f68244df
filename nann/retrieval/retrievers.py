"""Retrievers: histories in, item rows and scores out. The beam walk and the exact scan share one interface, so that the one is the
oracle of the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from nann.index.embeddings import Embeddings
from nann.index.graph import Graph
from nann.memory.table import CorpusMemory
from nann.models import Scorer
from nann.retrieval.beam import SearchInputs, UserState, beam_search
from nann.retrieval.exact import exact_search
from nann.retrieval.fused import fused_scan, fused_search
from nann.retrieval.history import prepare_history
from nann.retrieval.memory import MemoryTables
from nann.retrieval.plan import AS_BUILT, SearchParameters
from nann.retrieval.stock_walk import StockWalk
from nann.retrieval.tables import SearchTables
from nann.retrieval.walk import Walk
from ops.scoring import UserMemory
from ops.scoring_program import LoweredScorer


class UserScorer(Protocol):
    """What retrieval needs of a model, trained or frozen."""

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor, **inputs: tf.Tensor) -> UserState:
        """The user state of raw histories [B, L] int64: any integers, any L; by name its `nann.dataset.inputs`."""

    def score(self, user_state: UserState, items: tf.Tensor) -> tf.Tensor:
        """Logits [B, n] of items [B, n, D] or [1, n, D]."""


class HistoryScorer:
    """A `Scorer` that takes histories as they come.

    Args:
        scorer: the model.
        max_length: most recent history items it reads.
    """

    def __init__(self, scorer: Scorer, *, max_length: int) -> None:
        self.scorer = scorer
        self.max_length = max_length

    def prepare(self, item_rows: tf.Tensor, cate_rows: tf.Tensor, **inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        """`prepare_history` with this model's numbers, and the inputs that the model reads beside."""
        read = self.scorer.request_inputs
        of_events = [name for name, entry in read.items() if entry.side == "history" and name in inputs]
        items, categories, *others = prepare_history(
            item_rows,
            cate_rows,
            *(inputs[name] for name in of_events),
            num_items=self.scorer.num_items,
            num_categories=self.scorer.num_categories,
            max_length=self.max_length,
        )
        of_user = {name: inputs[name] for name, entry in read.items() if entry.side == "user" and name in inputs}
        return items, categories, dict(zip(of_events, others, strict=True)) | of_user

    def history(self, item_rows: tf.Tensor, cate_rows: tf.Tensor, **inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Sequence [B, W, H] and mask [B, W] of raw histories [B, L] int64."""
        items, categories, prepared = self.prepare(item_rows, cate_rows, **inputs)
        return self.scorer.history(items, categories, **prepared)

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor, **inputs: tf.Tensor) -> UserState:
        """The user state of raw histories [B, L] int64."""
        return tuple(self.scorer.encode_user(*self.history(item_rows, cate_rows, **inputs)))

    def score(self, user_state: UserState, items: tf.Tensor) -> tf.Tensor:
        """Logits [B, n] of items [B, n, D] or [1, n, D]."""
        return self.scorer.score(user_state, items)


class FusedScorer:
    """A scorer that `BeamRetriever` and `ExactRetriever` run as a program, in one native op; see `nann.retrieval.fused`.

    Args:
        scorer: the same as a `UserScorer`.
        lowered: its program and parameters; of `nann.export.lower_frozen`.
    """

    def __init__(self, scorer: UserScorer, lowered: LoweredScorer) -> None:
        self._scorer = scorer
        self.lowered = lowered

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor, **inputs: tf.Tensor) -> UserState:
        """The user state of raw histories [B, L] int64."""
        return self._scorer.user_state(item_rows, cate_rows, **inputs)

    def score(self, user_state: UserState, items: tf.Tensor) -> tf.Tensor:
        """Logits [B, n] of items [B, n, D] or [1, n, D], by the scorer's own ops."""
        return self._scorer.score(user_state, items)

    def parameters(self, user_state: UserState) -> list[tf.Tensor]:
        """The program's parameters."""
        return list(self.lowered.parameters(*user_state))


class Retrieved(NamedTuple):
    """Items per user, best first.

    Attributes:
        item_rows: [B, K] int64, 0 where fewer than K items were found.
        scores: [B, K] float32, -inf there.
        items_scored: [B] int64.
    """

    item_rows: np.ndarray
    scores: np.ndarray
    items_scored: np.ndarray


ROWS = tf.TensorSpec([None, None], tf.int64)


class _ByInputs:
    """A graph function of item rows, category rows and inputs by name, traced once per set of names.

    Args:
        function: of item rows, category rows, inputs, and further arguments.
        more: signature of these.
    """

    def __init__(self, function: Callable[..., tuple[tf.Tensor, ...]], *more: Any) -> None:
        self._function, self._more = function, more
        self._traced: dict[tuple[str, ...], Any] = {}

    def __call__(
        self, item_rows: np.ndarray, cate_rows: np.ndarray, inputs: Mapping[str, np.ndarray], *more: Any
    ) -> tuple[np.ndarray, ...]:
        names = tuple(sorted(inputs))
        if names not in self._traced:
            signature = [ROWS, ROWS, dict.fromkeys(names, ROWS), *self._more]
            self._traced[names] = tf.function(self._function, input_signature=signature)
        values = {name: tf.constant(inputs[name], tf.int64) for name in names}
        outputs = self._traced[names](tf.constant(item_rows, tf.int64), tf.constant(cate_rows, tf.int64), values, *more)
        return tuple(output.numpy() for output in outputs)


def rows_at(item_rows: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Item rows [B, K] at positions [B, K], 0 for position -1."""
    return tf.where(positions >= 0, tf.gather(item_rows, tf.maximum(positions, 0)), 0)


class _Recall:
    """A user's part of a memory: by a native op beside a program, else by stock ops; None without a memory."""

    def __init__(self, memory: CorpusMemory | None, native: bool) -> None:
        self._tables, self._native = None if memory is None else MemoryTables.create(memory), native

    def __call__(self, item_rows: tf.Tensor, cate_rows: tf.Tensor) -> UserMemory | None:
        if self._tables is None:
            return None
        return self._tables.native(item_rows, cate_rows) if self._native else self._tables.stock(item_rows, cate_rows)


class BeamRetriever:
    """The walk with given search parameters, for measurements and curves; the exported graph holds the same walk.

    Args:
        scorer: the model.
        embeddings: the corpus.
        graph: built from these embeddings.
        ef: see `SearchParameters`.
        rounds: see `SearchParameters`.
        top_k: K.
        start_level: see `SearchParameters`.
        walk: the operations; by default the stock ones. A `FusedScorer` brings its own.
        memory: of the same corpus, joined with the scores; None: none.

    Attributes:
        parameters: the search; may be replaced between calls by one of as many levels.
    """

    def __init__(
        self,
        scorer: UserScorer,
        embeddings: Embeddings,
        graph: Graph,
        *,
        ef: tuple[int, ...],
        rounds: tuple[int, ...],
        top_k: int,
        start_level: int = AS_BUILT,
        walk: Walk | None = None,
        memory: CorpusMemory | None = None,
    ) -> None:
        self.parameters = SearchParameters(ef=tuple(ef), rounds=tuple(rounds), top_k=top_k, start_level=start_level)
        tables = SearchTables.create(embeddings, graph, max_levels=len(ef))
        operations = walk or StockWalk()
        recall = _Recall(memory, isinstance(scorer, FusedScorer))
        entries = 0 if memory is None else memory.entries

        def retrieve(
            item_rows: tf.Tensor, cate_rows: tf.Tensor, inputs: dict[str, tf.Tensor], search: SearchInputs
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            user_state = scorer.user_state(item_rows, cate_rows, **inputs)
            if isinstance(scorer, FusedScorer):
                found, _ = fused_search(
                    scorer.lowered.program,
                    scorer.parameters(user_state),
                    user_state,
                    tables,
                    search,
                    memory=recall(item_rows, cate_rows),
                    memory_entries=entries,
                )
            else:
                recalled = recall(item_rows, cate_rows)
                found = beam_search(scorer.score, user_state, tables, search, operations, memory=recalled, memory_entries=entries)
            return rows_at(tables.item_rows, found.positions), found.scores, found.items_scored

        levels = tf.TensorSpec([len(ef)], tf.int64)
        search = SearchInputs(levels, levels, tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int64))
        self._call = _ByInputs(retrieve, search)

    def __call__(self, item_rows: np.ndarray, cate_rows: np.ndarray, **inputs: np.ndarray) -> Retrieved:
        """Retrieves for histories [B, L] of item rows and category rows, oldest first, zeros anywhere, and by name what else is read."""
        return Retrieved(*self._call(item_rows, cate_rows, inputs, SearchInputs.of(self.parameters)))


class ExactRetriever:
    """The exact scan.

    Args:
        scorer: the model.
        embeddings: the corpus.
        top_k: K.
        block: items scored at a time; a `FusedScorer` has its own.
        memory: of the same corpus, joined with the scores; None: none.
    """

    def __init__(
        self, scorer: UserScorer, embeddings: Embeddings, *, top_k: int, block: int = 4096, memory: CorpusMemory | None = None
    ) -> None:
        recall = _Recall(memory, isinstance(scorer, FusedScorer))
        item_embs = tf.Variable(embeddings.vectors, trainable=False)
        all_rows = tf.Variable(embeddings.item_rows, trainable=False)

        def retrieve(item_rows: tf.Tensor, cate_rows: tf.Tensor, inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            user_state = scorer.user_state(item_rows, cate_rows, **inputs)
            if isinstance(scorer, FusedScorer):
                parameters, recalled = scorer.parameters(user_state), recall(item_rows, cate_rows)
                found = fused_scan(scorer.lowered.program, parameters, user_state, item_embs, top_k=top_k, memory=recalled)
            else:
                recalled = recall(item_rows, cate_rows)
                found = exact_search(scorer.score, user_state, item_embs, top_k=top_k, block=block, memory=recalled)
            return rows_at(all_rows, found.positions), found.scores, found.items_scored

        self._call = _ByInputs(retrieve)

    def __call__(self, item_rows: np.ndarray, cate_rows: np.ndarray, **inputs: np.ndarray) -> Retrieved:
        """Retrieves for histories [B, L] of item rows and category rows, oldest first, zeros anywhere, and by name what else is read."""
        return Retrieved(*self._call(item_rows, cate_rows, inputs))
