"""The key index of the native ops: built from the keys, and kept between calls under the keys' stamp."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ops.embedding.features import handle_of
from ops.embedding.variable.graph_slots import GraphSlots
from ops.embedding.variable.options import CBFFilter, EmbeddingVariableOption
from ops.embedding.variable.storage import Storage


class NativeIndex:
    """Lookups in one variable.

    Args:
        library: the native ops.
        storage: the variables to look up in.
        option: its filter.
        graph_slots: of a TF1 graph; None in eager mode.
    """

    resources: dict[str, Any] = {}  # noqa: RUF012 - what a SavedModel keeps of it: nothing, as the stamp leads to an index built anew

    def __init__(self, library: Any, storage: Storage, option: EmbeddingVariableOption, graph_slots: GraphSlots | None) -> None:
        self._library, self._storage, self._option, self._graph_slots = library, storage, option, graph_slots

    def find(self, values: tf.Variable, ids: tf.Tensor, *, prune: bool) -> tf.Tensor:
        """The entries' values int64 of ids, -1 for unknown ones."""
        storage = self._storage
        return self._library.nann_embedding_variable_find(
            keys=handle_of(storage.keys), values=handle_of(values), state=handle_of(storage.state), ids=ids, prune=prune
        )

    def insert(self, ids: tf.Tensor, *, prune: bool, mask: Any, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Counts ids and gives rows to those the filter admits: rows of all ids, the new rows [m], places [m] of their ids."""
        storage, graph_slots, bloom = self._storage, self._graph_slots, self._option.filter_option
        made = self._library.nann_embedding_variable_rows(
            tables=[table.handle for table in storage.tables],
            keys=storage.keys.handle,
            rows=storage.rows.handle,
            frequencies=storage.frequencies.handle,
            versions=storage.versions.handle,
            state=storage.state.handle,
            bloom=[] if storage.bloom is None else [storage.bloom.handle],
            slots=[] if graph_slots is not None else [slot.handle for _, slot in storage.slots],
            ids=ids,
            mask=[] if mask is None else [tf.cast(mask, tf.int32)],
            step=step,
            filter_frequency=self._option.filter_frequency,
            hashes=bloom.num_hashes if isinstance(bloom, CBFFilter) else 1,
            prune=prune,
            slot_names=[] if graph_slots is None else graph_slots.names,
        )
        if graph_slots is not None:
            graph_slots.grown_by(made.found.op)
        return made.found, made.new_rows, made.positions

    def start(self, new_rows: tf.Tensor, values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Puts values [m, dim] into new rows; returns ``rows``, once they are there."""
        handles = [table.handle for table in self._storage.tables]
        return self._library.nann_embedding_variable_start(tables=handles, new_rows=new_rows, values=values, rows=rows)
