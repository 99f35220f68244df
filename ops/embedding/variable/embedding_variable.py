"""A table of rows for arbitrary keys: a key that is admitted gets a row, and the table grows when it is full.

Ordinary variables hold everything, see `Storage`. So gradients, optimizers, and in TF1 graphs `tf.compat.v1.train.Saver`, need nothing
special. Optimizer slots grow along: those of `ops.embedding.update` and `ops.optimizers`, and in TF1 graphs those of
`tf.compat.v1.train`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.trackable.base import Trackable, no_automatic_dependency_tracking

from ops import native
from ops.embedding.variable import eviction, replicas, snapshot
from ops.embedding.variable.graph_slots import GraphSlots
from ops.embedding.variable.native_index import NativeIndex
from ops.embedding.variable.options import CBFFilter, EmbeddingVariableOption
from ops.embedding.variable.start_rows import for_new_rows
from ops.embedding.variable.stock_index import StockIndex
from ops.embedding.variable.storage import ADMITTED, ENTRIES, EVICTED, ROWS, STATE_SIZE, Storage


class Export(NamedTuple):
    """The admitted keys of an `EmbeddingVariable`, in the order of their rows (n keys).

    Attributes:
        keys: [n] int64, or bytes.
        values: [n, dim] rows.
        versions: [n] int64, the step of the last training lookup each was in.
        frequencies: [n] int64, in how many places of training lookups each stood.
    """

    keys: np.ndarray
    values: np.ndarray
    versions: np.ndarray
    frequencies: np.ndarray


class EmbeddingVariable(tf.Module):
    """A growing map from keys to trainable rows.

    A row number is at least ``partition_num`` (1 without): row 0 of every part is never handed out, and holds what slots start from.

    Args:
        dim: size of a row.
        dtype: of the rows.
        key_dtype: int64 (which takes int32 ids, too) or string. All keys are ordinary, 0, -1 and 2^63-1 included.
        initializer: called with (shape [m, dim], dtype) for the m rows that are new; default: that of ``option``, else uniform in
            +-1/sqrt(dim).
        option: filter, eviction, start values.
        initial_capacity: rows before the first growth.
        partition_num: parts of the table; row r is row r // partition_num of part r % partition_num ("mod").
        trainable: whether optimizers see the table.
        global_step: int64 variable that versions are read from; None: the global step of the TF1 graph if there is one, else the
            number of training lookups so far.
        name: of the table.

    Raises:
        ValueError: an argument is none of its values.
        RuntimeError: the option needs the native library, and it is not there.
    """

    storage: Storage

    @no_automatic_dependency_tracking
    def __init__(
        self,
        dim: int,
        *,
        dtype: tf.DType = tf.float32,
        key_dtype: tf.DType = tf.int64,
        initializer: Any = None,
        option: EmbeddingVariableOption | None = None,
        initial_capacity: int = 1024,
        partition_num: int | None = None,
        trainable: bool = True,
        global_step: tf.Variable | None = None,
        name: str = "embedding_variable",
    ) -> None:
        if dim < 1 or initial_capacity < 2:
            raise ValueError(f"dim must be at least 1 and initial_capacity at least 2, got {dim} and {initial_capacity}")
        if key_dtype not in (tf.int64, tf.string):
            raise ValueError(f"key_dtype must be int64 or string, got {tf.as_dtype(key_dtype).name}; int32 ids are looked up as int64")
        if not tf.as_dtype(dtype).is_floating:
            raise ValueError(f"dtype must be float16, bfloat16, float32 or float64, got {tf.as_dtype(dtype).name}")
        if partition_num is not None and partition_num < 1:
            raise ValueError(f"partition_num must be at least 1, got {partition_num}; None for one part")
        super().__init__(name=name.replace("/", "_").replace(".", "_"))
        self.dim, self.dtype, self.key_dtype = dim, tf.as_dtype(dtype), tf.as_dtype(key_dtype)
        self.option, self.partition_num = option or EmbeddingVariableOption(), partition_num or 1
        given = initializer or self.option.init_option.initializer or tf.random_uniform_initializer(-(dim**-0.5), dim**-0.5)
        self._initializer = for_new_rows(given, dim, self.option.init_option.default_value_dim)
        self._global_step = global_step
        bloom, library = self.option.filter_option, native.load_library()
        if isinstance(bloom, CBFFilter) and library is None:
            raise RuntimeError("CBFFilter needs the native library; run `make install`, or take CounterFilter")
        self.storage = Storage(
            dim,
            dtype=self.dtype,
            key_dtype=self.key_dtype,
            num_counters=bloom.num_counters if isinstance(bloom, CBFFilter) else 0,
            initial_capacity=initial_capacity,
            partition_num=self.partition_num,
            trainable=trainable,
            name=name,
        )
        graph_slots = GraphSlots(self.storage) if self.graph_mode else None
        self._index: NativeIndex | StockIndex = (
            StockIndex(self.storage, self.option.filter_frequency)
            if library is None
            else NativeIndex(library, self.storage, self.option, graph_slots)
        )
        self._track_trackable(_Content(self), name="content")

    @property
    def table(self) -> Any:
        """The table: its variable, or the list of the variables of its parts."""
        return self.tables[0] if len(self.tables) == 1 else self.tables

    @property
    def tables(self) -> list[tf.Variable]:
        """The variables of the table's parts."""
        return self.storage.tables

    @property
    def keys(self) -> tf.Variable:
        """[capacity] key of every entry, see `Storage`."""
        return self.storage.keys

    @property
    def rows(self) -> tf.Variable:
        """[capacity] int64 row of every entry, see `Storage`."""
        return self.storage.rows

    @property
    def state(self) -> tf.Variable:
        """[6] int64 counts, see `ops.embedding.variable.storage`."""
        return self.storage.state

    @property
    def slots(self) -> list[tuple[int, tf.Variable]]:
        """The optimizers' slots that grow with the table, each with the number of its part."""
        return self.storage.slots

    @property
    def graph_mode(self) -> bool:
        """Whether the variables belong to a TF1 graph."""
        return self.storage.graph_mode

    def forget_slots(self) -> None:
        """Checkpoints from now on hold no slots; for a model that is done with training."""
        self.storage.forget_slots()

    def rows_of(
        self,
        ids: tf.Tensor,
        *,
        insert: bool = True,
        prune: bool = False,
        mask: tf.Tensor | None = None,
        start: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Rows of ids in the table.

        Args:
            ids: of the key dtype, or int32; any shape.
            insert: a training lookup, which counts its ids and gives a row to those the filter admits; otherwise nothing changes.
            prune: negative ids have no row, as in the fused lookup; otherwise they are keys like others.
            mask: int32 0 or 1 per id; ids with 0 are neither counted nor looked up.
            start: called with the new keys [m], of the ids' dtype, for their start values [m, dim]; default: the initializer.

        Returns:
            The ids' shape, int64; -1 where there is no row.
        """
        ids = tf.convert_to_tensor(ids)
        if ids.dtype not in ((tf.string,) if self.key_dtype == tf.string else (tf.int32, tf.int64)):
            raise ValueError(f"ids must be of the key dtype {self.key_dtype.name}, got {ids.dtype.name}")
        if not insert:
            found = self._index.find(self.rows, ids, prune=prune)
            return found if mask is None else tf.where(tf.equal(tf.reshape(mask, tf.shape(found)), 1), found, -tf.ones_like(found))
        replicas.check_context(self.state)
        if replicas.in_sync() > 1:
            return self._insert_with_all(ids, prune=prune, mask=mask, start=start)
        rows, new_rows, positions = self._index.insert(ids, prune=prune, mask=mask, step=self._step())
        return self._index.start(new_rows, self._start_values(ids, positions, start), rows)

    def _start_values(self, ids: tf.Tensor, positions: tf.Tensor, start: Callable[[tf.Tensor], tf.Tensor] | None) -> tf.Tensor:
        if start is None:
            return self._initializer(tf.stack([tf.size(positions), self.dim]), self.dtype)
        return tf.stop_gradient(tf.cast(start(tf.gather(tf.reshape(ids, [-1]), positions)), self.dtype))

    def _insert_with_all(self, ids: tf.Tensor, *, prune: bool, mask: tf.Tensor | None, start: Any) -> tf.Tensor:
        """A training lookup of one of several replicas, see `replicas`."""
        if not isinstance(self._index, NativeIndex):
            raise RuntimeError("training on several replicas needs the native library; run `make install`, or take one replica")
        everyone = replicas.Everyone.with_part(ids)
        all_ids, all_masks = everyone.of(ids), None if mask is None else everyone.of(tf.cast(mask, tf.int32))
        rows, new_rows, positions = self._index.insert(all_ids, prune=prune, mask=all_masks, step=self._step())
        values = everyone.first_of(self._start_values(all_ids, positions, start))
        return tf.reshape(everyone.own(self._index.start(new_rows, values, rows)), tf.shape(ids))

    def _step(self) -> tf.Tensor:
        """The step now; -1: the number of lookups."""
        step = self._global_step
        if step is None and self.graph_mode:
            step = tf.compat.v1.train.get_global_step()
        return tf.constant(-1, tf.int64) if step is None else tf.cast(tf.convert_to_tensor(step), tf.int64)

    def rows_like(self, ids: tf.SparseTensor | tf.RaggedTensor, *, prune: bool = True, **options: Any) -> tf.SparseTensor | tf.RaggedTensor:
        """Sparse or ragged ids with their rows in place of the ids; negative ids are pruned, as in the fused lookup. See `rows_of`."""
        if isinstance(ids, tf.RaggedTensor):
            return ids.with_flat_values(self.rows_of(ids.flat_values, prune=prune, **options))
        return tf.SparseTensor(ids.indices, self.rows_of(ids.values, prune=prune, **options), ids.dense_shape)

    def total_count(self) -> int:
        """Number of keys that have a row; in eager mode."""
        return int(self.state[ROWS])

    def filtered_count(self) -> int:
        """Number of keys that were met and counted but have no row; in eager mode."""
        return int(self.state[ENTRIES] - self.state[ROWS])

    def counts(self) -> dict[str, int]:
        """``admitted`` and ``evicted``: rows ever given out and taken back; ``rows`` in use; ``size_bytes`` of table and entries."""
        state = self.state.numpy()
        return {
            "admitted": int(state[ADMITTED]),
            "evicted": int(state[EVICTED]),
            "rows": int(state[ROWS]),
            "size_bytes": self.storage.size_bytes,
        }

    def get_frequency(self, ids: tf.Tensor) -> tf.Tensor:
        """In how many places of training lookups each id stood, int64; 0 for keys not met (or only counted by a Bloom filter)."""
        return tf.maximum(self._index.find(self.storage.frequencies, tf.convert_to_tensor(ids), prune=False), 0)

    def get_version(self, ids: tf.Tensor) -> tf.Tensor:
        """The step of the last training lookup each id was in, int64; -1 for keys not met."""
        return self._index.find(self.storage.versions, tf.convert_to_tensor(ids), prune=False)

    def export(self) -> Export:
        """The admitted keys with their rows, versions and frequencies; in eager mode."""
        held = {name: tensor.numpy() for name, tensor in snapshot.take(self.storage).items()}
        entries = np.flatnonzero(held["rows"] >= 0)
        entries = entries[np.argsort(held["rows"][entries])]
        return Export(held["keys"][entries], held["values"], held["versions"][entries], held["frequencies"][entries])

    def evict(self, option: Any = None, *, session: Any = None) -> int:
        """Takes out the keys that the option names, makes the table as small as what is left, and renumbers its rows.

        Rows and slots of the kept keys move unchanged; a key that comes again starts anew. Not to be called between a lookup and the
        use of its rows.

        Args:
            option: `GlobalStepEvict` or `L2WeightEvict`; None: the variable's own.
            session: of the TF1 graph; None in eager mode.

        Returns:
            The number of rows taken back.
        """
        option = option or self.option.evict_option
        if option is None:
            return 0
        return eviction.evict(self.storage, option, step=self._step(), session=session)

    def take_over(self, other: EmbeddingVariable) -> None:
        """Makes keys, rows, counts and slots those of another variable, of any capacity and partition count; in eager mode.

        Rows given out and taken back (`counts`) are counted anew.
        """
        taken = snapshot.take(other.storage)
        kept = tf.constant([number not in (ADMITTED, EVICTED) for number in range(STATE_SIZE)])
        snapshot.restore(self.storage, {**taken, "state": tf.where(kept, taken["state"], tf.zeros_like(taken["state"]))})

    def _trackable_children(self, save_type: str = "checkpoint", **options: Any) -> dict[str, Any]:
        """A checkpoint holds the logical content; a SavedModel the variables that its functions read, without slots."""
        children: dict[str, Any] = super()._trackable_children(save_type, **options)
        if save_type != "savedmodel":
            return children
        del children["content"]
        parts = {f"table_{part}": table for part, table in enumerate(self.tables)}
        return {**children, **parts, **self._index.resources, **self.storage.fields}


class _Content(Trackable):
    """What `tf.train.Checkpoint` saves of a variable; keys due for eviction go first."""

    def __init__(self, variable: EmbeddingVariable) -> None:
        self._variable = variable

    def _serialize_to_tensors(self) -> dict[str, tf.Tensor]:
        if tf.executing_eagerly():
            self._variable.evict()
        return snapshot.take(self._variable.storage)

    def _restore_from_tensors(self, restored: dict[str, tf.Tensor]) -> Any:
        return snapshot.restore(self._variable.storage, restored)
