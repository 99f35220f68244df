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
from nann.retrieval.beam import SearchInputs, UserState
from nann.retrieval.filters import FilterTables, exact_limit
from nann.retrieval.history import prepare_history
from nann.retrieval.memory import MemoryTables
from nann.retrieval.plan import AS_BUILT, SearchParameters
from nann.retrieval.search import Filtering, OpSearch, Query, Search
from nann.retrieval.tables import SearchTables


class UserScorer(Protocol):
    """What retrieval needs of a model, trained or frozen. One with an attribute ``search`` is searched by that unless told otherwise."""

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
        search: how the walk is done; None: by the scorer's own ops and stock operations.
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
        search: Search | None = None,
        memory: CorpusMemory | None = None,
    ) -> None:
        self.parameters = SearchParameters(ef=tuple(ef), rounds=tuple(rounds), top_k=top_k, start_level=start_level)
        tables = SearchTables.create(embeddings, graph, max_levels=len(ef))
        by, remembered = search or getattr(scorer, "search", None) or OpSearch(), None if memory is None else MemoryTables.create(memory)

        def retrieve(
            item_rows: tf.Tensor, cate_rows: tf.Tensor, inputs: dict[str, tf.Tensor], parameters: SearchInputs
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            query = Query(item_rows, cate_rows, scorer.user_state(item_rows, cate_rows, **inputs))
            found = by.walk(scorer.score, query, tables, parameters, remembered)
            return rows_at(tables.item_rows, found.positions), found.scores, found.items_scored

        levels = tf.TensorSpec([len(ef)], tf.int64)
        self._call = _ByInputs(retrieve, SearchInputs(levels, levels, tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int64)))

    def __call__(self, item_rows: np.ndarray, cate_rows: np.ndarray, **inputs: np.ndarray) -> Retrieved:
        """Retrieves for histories [B, L] of item rows and category rows, oldest first, zeros anywhere, and by name what else is read."""
        return Retrieved(*self._call(item_rows, cate_rows, inputs, SearchInputs.of(self.parameters)))


class FilteredRetriever:
    """The filtered search with given parameters, for measurements; the exported graph holds the same.

    Args:
        scorer: the model.
        embeddings: the corpus.
        graph: built from these embeddings.
        filters: tables of the same corpus.
        parameters: the search.
        limit: users for whom no more items pass are answered by a scan of these; None: `exact_limit`, N or more: all are.
        search: how it is done; None: by the scorer's own ops and stock operations.
        memory: of the same corpus, joined with the scores; None: none.
    """

    def __init__(
        self,
        scorer: UserScorer,
        embeddings: Embeddings,
        graph: Graph,
        filters: FilterTables,
        parameters: SearchParameters,
        *,
        limit: int | None = None,
        search: Search | None = None,
        memory: CorpusMemory | None = None,
    ) -> None:
        tables = SearchTables.create(embeddings, graph, max_levels=len(parameters.ef))
        by, remembered = search or OpSearch(), None if memory is None else MemoryTables.create(memory)
        scanned = tf.constant(exact_limit(parameters.ef, len(embeddings)) if limit is None else limit, tf.int64)

        def retrieve(
            item_rows: tf.Tensor,
            cate_rows: tf.Tensor,
            inputs: dict[str, tf.Tensor],
            exclude_rows: tf.Tensor,
            exclude_history: tf.Tensor,
            category_rows: tf.Tensor,
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            query = Query(item_rows, cate_rows, scorer.user_state(item_rows, cate_rows, **inputs))
            asked = filters.filters(item_rows, exclude_rows, exclude_history, category_rows)
            filtering = Filtering(filters, asked, scanned)
            found = by.filtered(scorer.score, query, tables, SearchInputs.of(parameters), remembered, filtering)
            return rows_at(tables.item_rows, found.positions), found.scores, found.items_scored

        self._call = _ByInputs(retrieve, ROWS, tf.TensorSpec([None], tf.bool), ROWS)

    def __call__(
        self,
        item_rows: np.ndarray,
        cate_rows: np.ndarray,
        *,
        exclude_rows: np.ndarray | None = None,
        exclude_history: np.ndarray | None = None,
        category_rows: np.ndarray | None = None,
        **inputs: np.ndarray,
    ) -> Retrieved:
        """Retrieves for histories [B, L]; see `FilterTables.filters`, what is not given filters nothing."""
        users = len(item_rows)
        rows = [np.zeros((users, 0), np.int64) if given is None else given for given in (exclude_rows, category_rows)]
        history = np.zeros(users, bool) if exclude_history is None else exclude_history
        more = tf.constant(rows[0], tf.int64), tf.constant(history, tf.bool), tf.constant(rows[1], tf.int64)
        return Retrieved(*self._call(item_rows, cate_rows, inputs, *more))


class ExactRetriever:
    """The exact scan.

    Args:
        scorer: the model.
        embeddings: the corpus.
        top_k: K.
        search: how the scan is done; None: by the scorer's own ops.
        memory: of the same corpus, joined with the scores; None: none.
    """

    def __init__(
        self,
        scorer: UserScorer,
        embeddings: Embeddings,
        *,
        top_k: int,
        search: Search | None = None,
        memory: CorpusMemory | None = None,
    ) -> None:
        by, remembered = search or getattr(scorer, "search", None) or OpSearch(), None if memory is None else MemoryTables.create(memory)
        item_embs = tf.Variable(embeddings.vectors, trainable=False)
        all_rows = tf.Variable(embeddings.item_rows, trainable=False)

        def retrieve(item_rows: tf.Tensor, cate_rows: tf.Tensor, inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            query = Query(item_rows, cate_rows, scorer.user_state(item_rows, cate_rows, **inputs))
            found = by.scan(scorer.score, query, item_embs, top_k=top_k, memory=remembered)
            return rows_at(all_rows, found.positions), found.scores, found.items_scored

        self._call = _ByInputs(retrieve)

    def __call__(self, item_rows: np.ndarray, cate_rows: np.ndarray, **inputs: np.ndarray) -> Retrieved:
        """Retrieves for histories [B, L] of item rows and category rows, oldest first, zeros anywhere, and by name what else is read."""
        return Retrieved(*self._call(item_rows, cate_rows, inputs))
