"""A table of rows for arbitrary keys: a key that is admitted gets a row, and the table grows when it is full.

Ordinary variables hold everything: the table [capacity, dim], in one part or in several, and for every key met an entry of ``keys``,
``rows``, ``frequencies`` and ``versions``. So gradients, optimizers, and in TF1 graphs `tf.compat.v1.train.Saver`, need nothing special.
Optimizer slots grow along: those of `ops.embedding.update` and `ops.optimizers`, and in TF1 graphs those of `tf.compat.v1.train`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.trackable.base import Trackable, no_automatic_dependency_tracking

from ops import native
from ops.embedding.features import handle_of
from ops.embedding_variable import eviction, snapshot, stock
from ops.embedding_variable.options import CBFFilter, EmbeddingVariableOption

OWNER = "_nann_embedding_variable"
STATE_SIZE = 6
ENTRIES, ROWS, STAMP, ADMITTED, EVICTED, LOOKUPS = range(STATE_SIZE)


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
        if partition_num is not None and partition_num < 1:
            raise ValueError(f"partition_num must be at least 1, got {partition_num}; None for one part")
        super().__init__(name=name.replace("/", "_").replace(".", "_"))
        self.dim, self.dtype, self.key_dtype = dim, tf.as_dtype(dtype), tf.as_dtype(key_dtype)
        self.option = option or EmbeddingVariableOption()
        self.partition_num, self.initial_capacity = partition_num or 1, initial_capacity
        self.graph_mode = not tf.executing_eagerly()
        self._initializer = initializer or self.option.init_option.initializer or tf.random_uniform_initializer(-(dim**-0.5), dim**-0.5)
        self._global_step = global_step
        self._library = native.load_library()
        self.slots: list[tuple[int, tf.Variable]] = []  # part, and a slot of it
        self.pending_slots: np.ndarray | None = None  # [kinds, n, dim], restored before the optimizer was there
        self._slot_names: list[str] = []
        self._lookups: list[Any] = []
        rows = -(-initial_capacity // self.partition_num)
        names = [name] if self.partition_num == 1 else [f"{name}/part_{part}" for part in range(self.partition_num)]
        self.tables = [self._variable(tf.zeros([rows, dim], self.dtype), part, trainable) for part in names]
        empty = tf.zeros([initial_capacity], tf.int64)
        no_keys = empty if self.key_dtype == tf.int64 else tf.fill([initial_capacity], "")
        self.keys = self._variable(no_keys, f"{name}_keys", False)
        self.rows = self._variable(empty, f"{name}_rows", False)
        self.frequencies = self._variable(empty, f"{name}_frequencies", False)
        self.versions = self._variable(empty, f"{name}_versions", False)
        self.state = self._variable(tf.zeros([STATE_SIZE], tf.int64), f"{name}_state", False)
        self.bloom = None
        if isinstance(self.option.filter_option, CBFFilter):
            if self._library is None:
                raise RuntimeError("CBFFilter needs the native library; run `make install`, or take CounterFilter")
            self.bloom = self._variable(tf.zeros([self.option.filter_option.num_counters], tf.int32), f"{name}_bloom", False)
        self._stock = stock.StockIndex(self) if self._library is None else None
        self._track_trackable(_Content(self), name="content")
        for table in self.tables:
            setattr(table, OWNER, self)
        if self.graph_mode:
            self._watch_slots()

    def _variable(self, value: tf.Tensor, name: str, trainable: bool) -> tf.Variable:
        if self.graph_mode:  # optimizers of TF1 want a known shape, though the table may outgrow it
            return tf.compat.v1.Variable(value, trainable=trainable, use_resource=True, name=name)
        return tf.Variable(value, trainable=trainable, name=name, shape=[None, *value.shape[1:]])

    def _watch_slots(self) -> None:
        """Slots are made when gradients are applied, after the lookups; their names are then put into the lookups' nodes."""
        graph = tf.compat.v1.get_default_graph()
        prefixes = [f"{table.op.name}/" for table in self.tables]

        def creator(next_creator: Any, **kwargs: Any) -> Any:
            variable = next_creator(**kwargs)
            for part, prefix in enumerate(prefixes):
                if variable.op.name.startswith(prefix) and variable.shape == self.tables[part].shape:
                    self.slots.append((part, variable))
                    self._slot_names.append(variable.op.name)
                    for lookup in self._lookups:
                        names = attr_value_pb2.AttrValue.ListValue(s=[name.encode() for name in self._slot_names])
                        lookup._set_attr("slot_names", attr_value_pb2.AttrValue(list=names))
                    variable._read_variable_op = self._after_lookups(variable._read_variable_op)
            return variable

        graph._variable_creator_stack = [*graph._variable_creator_stack, (0, creator)]

    def _after_lookups(self, read: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        """A slot's read which in an optimizer's update (Adam's decays all moments) waits until the step's lookups have grown the slot."""

        def in_turn(*args: Any, **kwargs: Any) -> tf.Tensor:
            inside = any(scope.startswith("update_") for scope in tf.compat.v1.get_default_graph().get_name_scope().split("/"))
            with tf.control_dependencies(self._lookups if inside else []):
                return read(*args, **kwargs)

        return in_turn

    @property
    def table(self) -> Any:
        """The table: its variable, or the list of the variables of its parts."""
        return self.tables[0] if self.partition_num == 1 else self.tables

    @no_automatic_dependency_tracking
    def attach_slot(self, table: tf.Variable, slot: tf.Variable) -> None:
        """Lets an optimizer's slot grow, shrink and be saved with the table; checkpoints of the optimizer need not hold it.

        Args:
            table: the part of the table it belongs to.
            slot: variable of shape [None, dim], as many rows as the part.
        """
        part = next(number for number, known in enumerate(self.tables) if known is table)
        kind = sum(known == part for known, _ in self.slots)
        self.slots.append((part, slot))
        if self.pending_slots is not None and kind < len(self.pending_slots):
            snapshot.restore_slot(self, slot, part, tf.constant(self.pending_slots[kind]))

    @no_automatic_dependency_tracking
    def forget_slots(self) -> None:
        """Checkpoints from now on hold no slots; for a model that is done with training."""
        self.slots, self.pending_slots = [], None

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
            start: called with the positions [m] of new keys in the flattened ids, for their start values [m, dim]; default: the
                initializer.

        Returns:
            The ids' shape, int64; -1 where there is no row.
        """
        ids = tf.convert_to_tensor(ids)
        if ids.dtype not in ((tf.string,) if self.key_dtype == tf.string else (tf.int32, tf.int64)):
            raise ValueError(f"ids must be of the key dtype {self.key_dtype.name}, got {ids.dtype.name}")
        if not insert:
            found = self._find(self.rows, ids, prune)
            return found if mask is None else tf.where(tf.equal(tf.reshape(mask, tf.shape(found)), 1), found, -tf.ones_like(found))
        if self._stock is not None:
            rows, new_rows, positions = self._stock.insert(ids, prune=prune, mask=mask, step=self._step())
        else:
            rows, new_rows, positions = self._insert(ids, prune, mask)
        if start is None:
            values = self._initializer(tf.stack([tf.size(new_rows), self.dim]), self.dtype)
        else:
            values = tf.stop_gradient(start(positions))
        if self._stock is not None:
            return self._stock.start(new_rows, values, rows)
        handles = [table.handle for table in self.tables]
        return self._library.nann_embedding_variable_start(tables=handles, new_rows=new_rows, values=values, rows=rows)

    def _insert(self, ids: tf.Tensor, prune: bool, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        bloom = self.option.filter_option
        made = self._library.nann_embedding_variable_rows(
            tables=[table.handle for table in self.tables],
            keys=self.keys.handle,
            rows=self.rows.handle,
            frequencies=self.frequencies.handle,
            versions=self.versions.handle,
            state=self.state.handle,
            bloom=[] if self.bloom is None else [self.bloom.handle],
            slots=[] if self.graph_mode else [slot.handle for _, slot in self.slots],
            ids=ids,
            mask=[] if mask is None else [tf.cast(mask, tf.int32)],
            step=self._step(),
            filter_frequency=self.option.filter_frequency,
            hashes=bloom.num_hashes if isinstance(bloom, CBFFilter) else 1,
            prune=prune,
            slot_names=self._slot_names,
        )
        if self.graph_mode:
            self._lookups.append(made.found.op)
        return made.found, made.new_rows, made.positions

    def _find(self, values: tf.Variable, ids: tf.Tensor, prune: bool = False) -> tf.Tensor:
        if self._stock is not None:
            return self._stock.find(values, ids, prune=prune)
        return self._library.nann_embedding_variable_find(
            keys=handle_of(self.keys), values=handle_of(values), state=handle_of(self.state), ids=ids, prune=prune
        )

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
        per_key = 32 if self.key_dtype == tf.int64 else 24 + 16
        table = sum(int(tf.size(part)) for part in self.tables) * self.dtype.size
        return {
            "admitted": int(state[ADMITTED]),
            "evicted": int(state[EVICTED]),
            "rows": int(state[ROWS]),
            "size_bytes": table + per_key * int(tf.size(self.rows)),
        }

    def get_frequency(self, ids: tf.Tensor) -> tf.Tensor:
        """In how many places of training lookups each id stood, int64; 0 for keys not met (or only counted by a Bloom filter)."""
        return tf.maximum(self._find(self.frequencies, tf.convert_to_tensor(ids)), 0)

    def get_version(self, ids: tf.Tensor) -> tf.Tensor:
        """The step of the last training lookup each id was in, int64; -1 for keys not met."""
        return self._find(self.versions, tf.convert_to_tensor(ids))

    def export(self) -> Export:
        """The admitted keys with their rows, versions and frequencies; in eager mode."""
        held = {name: tensor.numpy() for name, tensor in snapshot.take(self).items()}
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
        return eviction.evict(self, option, step=self._step(), session=session)

    def take_over(self, other: EmbeddingVariable) -> None:
        """Makes keys, rows, counts and slots those of another variable, of any capacity and partition count; in eager mode.

        Rows given out and taken back (`counts`) are counted anew.
        """
        taken = snapshot.take(other)
        kept = tf.constant([number not in (ADMITTED, EVICTED) for number in range(STATE_SIZE)])
        snapshot.restore(self, {**taken, "state": tf.where(kept, taken["state"], tf.zeros_like(taken["state"]))})

    def new_stamp(self) -> int:
        """A number no keys were stamped with before: the index is then built anew from the keys."""
        return secrets.randbits(62) | 1

    def _trackable_children(self, save_type: str = "checkpoint", **options: Any) -> dict[str, Any]:
        """A checkpoint holds the logical content; a SavedModel the variables that its functions read, without slots."""
        children: dict[str, Any] = super()._trackable_children(save_type, **options)
        if save_type != "savedmodel":
            return children
        del children["content"]
        own = {name: getattr(self, name) for name in ("keys", "rows", "frequencies", "versions", "state", "bloom")}
        parts = {f"table_{part}": table for part, table in enumerate(self.tables)}
        index = {} if self._stock is None else self._stock.resources
        return {**children, **parts, **index, **{name: variable for name, variable in own.items() if variable is not None}}


class _Content(Trackable):
    """What `tf.train.Checkpoint` saves of a variable; keys due for eviction go first."""

    def __init__(self, variable: EmbeddingVariable) -> None:
        self._variable = variable

    def _serialize_to_tensors(self) -> dict[str, tf.Tensor]:
        if tf.executing_eagerly():
            self._variable.evict()
        return snapshot.take(self._variable)

    def _restore_from_tensors(self, restored: dict[str, tf.Tensor]) -> Any:
        return snapshot.restore(self._variable, restored)
