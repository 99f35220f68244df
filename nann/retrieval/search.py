"""How a scorer searches a corpus: by its own TensorFlow ops, or as a program in one native op. Both find the same up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import tensorflow as tf

from nann.retrieval.beam import Found, Score, SearchInputs, UserState, beam_search
from nann.retrieval.exact import exact_search
from nann.retrieval.filtered import SearchedUsers, filtered_search
from nann.retrieval.filters import Filters, FilterTables, Passing
from nann.retrieval.fused import fused_filtered_search, fused_scan, fused_search
from nann.retrieval.memory import MemoryTables
from nann.retrieval.native_walk import NativeWalk
from nann.retrieval.stock_walk import StockWalk
from nann.retrieval.tables import SearchTables
from nann.retrieval.walk import Walk
from ops.scoring import ItemFilter


class Query(NamedTuple):
    """B users to search for.

    Attributes:
        item_rows: [B, L] int64 raw histories.
        cate_rows: [B, L] int64.
        user_state: of these users, tensors with leading axis B.
    """

    item_rows: tf.Tensor
    cate_rows: tf.Tensor
    user_state: UserState


class Filtering(NamedTuple):
    """What a filtered search reads beside the other.

    Attributes:
        tables: of the corpus.
        filters: of the users.
        exact_limit: [] int64: users for whom no more items pass are answered by a scan of these.
    """

    tables: FilterTables
    filters: Filters
    exact_limit: tf.Tensor


class Search(Protocol):
    """The walk and the exact scan with one scorer, in whatever graph they are called."""

    def walk(self, score: Score, query: Query, tables: SearchTables, inputs: SearchInputs, memory: MemoryTables | None) -> Found:
        """Walks the graph.

        Args:
            score: the scorer's logits [B, n] of a user state and items [B, n, D] or [1, n, D].
            query: the users.
            tables: of the corpus.
            inputs: the parameters of the search.
            memory: of the corpus, joined with every score; None: none.
        """

    def filtered(
        self, score: Score, query: Query, tables: SearchTables, inputs: SearchInputs, memory: MemoryTables | None, filtering: Filtering
    ) -> Found:
        """Walks the graph for items that pass, or scans these, see `nann.retrieval.filtered`; arguments as in `walk`."""

    def scan(self, score: Score, query: Query, item_embs: tf.Tensor, *, top_k: int, memory: MemoryTables | None) -> Found:
        """Scores every item.

        Args:
            score: as in `walk`.
            query: the users.
            item_embs: [N, D] float32.
            top_k: K, items returned per user.
            memory: as in `walk`.
        """


@dataclass(frozen=True)
class OpSearch:
    """The scorer's own ops, with the operations of a walk around them.

    Attributes:
        operations: stock or native.
        block: items that a scan scores at a time.
    """

    operations: Walk = field(default_factory=StockWalk)
    block: int = 4096

    def walk(self, score: Score, query: Query, tables: SearchTables, inputs: SearchInputs, memory: MemoryTables | None) -> Found:
        """See `Search.walk`."""
        recalled = None if memory is None else memory.stock(query.item_rows, query.cate_rows)
        entries = 0 if memory is None else memory.entries()
        return beam_search(score, query.user_state, tables, inputs, self.operations, memory=recalled, memory_entries=entries)

    def filtered(
        self, score: Score, query: Query, tables: SearchTables, inputs: SearchInputs, memory: MemoryTables | None, filtering: Filtering
    ) -> Found:
        """See `Search.filtered`."""
        passing = self.operations.passing(filtering.filters, filtering.tables)

        def users_of(numbers: tf.Tensor) -> SearchedUsers:
            state = tuple(tf.gather(tensor, numbers) for tensor in query.user_state)
            rows = tf.gather(query.item_rows, numbers), tf.gather(query.cate_rows, numbers)
            own = Passing(tf.gather(passing.mask, numbers), tf.gather(passing.counts, numbers))
            return SearchedUsers(state, own, None if memory is None else memory.stock(*rows))

        return filtered_search(
            score,
            users_of,
            passing,
            tables,
            tf.convert_to_tensor(filtering.tables.prior),
            inputs,
            self.operations,
            exact_limit=filtering.exact_limit,
            memory_entries=0 if memory is None else memory.entries(),
        )

    def scan(self, score: Score, query: Query, item_embs: tf.Tensor, *, top_k: int, memory: MemoryTables | None) -> Found:
        """See `Search.scan`."""
        recalled = None if memory is None else memory.stock(query.item_rows, query.cate_rows)
        return exact_search(score, query.user_state, item_embs, top_k=top_k, block=self.block, memory=recalled)


@dataclass(frozen=True)
class FusedSearch:
    """The scorer as a program, in one native op each for walk and scan; its own ops are left out.

    Attributes:
        program: see `ops.scoring_program`.
        parameters: the program's parameters, of the tensors of a user state.
        timing: name of a tensor [2] int64 to be added by `walk`: microseconds spent walking and scoring; None: no such tensor.
    """

    program: str
    parameters: Callable[..., Iterable[tf.Tensor]]
    timing: str | None = None

    def walk(self, score: Score, query: Query, tables: SearchTables, inputs: SearchInputs, memory: MemoryTables | None) -> Found:
        """See `Search.walk`."""
        recalled = None if memory is None else memory.native(query.item_rows, query.cate_rows)
        parameters = list(self.parameters(*query.user_state))
        entries = 0 if memory is None else memory.entries()
        found, microseconds = fused_search(
            self.program, parameters, query.user_state, tables, inputs, memory=recalled, memory_entries=entries
        )
        if self.timing is not None:
            tf.identity(microseconds, name=self.timing)
        return found

    def filtered(
        self, score: Score, query: Query, tables: SearchTables, inputs: SearchInputs, memory: MemoryTables | None, filtering: Filtering
    ) -> Found:
        """See `Search.filtered`."""
        passing = NativeWalk().passing(filtering.filters, filtering.tables)
        return fused_filtered_search(
            self.program,
            list(self.parameters(*query.user_state)),
            query.user_state,
            tables,
            inputs,
            ItemFilter(passing.mask, tf.convert_to_tensor(filtering.tables.prior), filtering.exact_limit),
            memory=None if memory is None else memory.native(query.item_rows, query.cate_rows),
            memory_entries=0 if memory is None else memory.entries(),
        )

    def scan(self, score: Score, query: Query, item_embs: tf.Tensor, *, top_k: int, memory: MemoryTables | None) -> Found:
        """See `Search.scan`."""
        parameters = list(self.parameters(*query.user_state))
        recalled = None if memory is None else memory.native(query.item_rows, query.cate_rows)
        return fused_scan(self.program, parameters, query.user_state, item_embs, top_k=top_k, memory=recalled)
