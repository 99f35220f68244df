"""Where the scorers' embeddings lie: one row per id, or rows for the ids that are met often, with shared rows for the others or without.

A table has one or two levels, variables whose row 0 stands for "missing"; an id has a row on at most one of them, so its embedding is the
sum over the levels. Ids are item rows or category rows, which incremental conversion keeps: tables that grow go from one model to the next.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ops import CounterFilter, EmbeddingVariable, EmbeddingVariableOption, GlobalStepEvict


@dataclass(frozen=True)
class TableOptions:
    """What tables that grow do.

    Attributes:
        promote_after: training targets after which an id has a row of its own.
        shared_rows: rows of the shared level, which the other ids have; id i's is 1 + (i - 1) mod shared_rows. 0: no such level.
    """

    promote_after: int
    shared_rows: int = 0


class Table(tf.Module, abc.ABC):
    """Rows [*, dim] float32 of ids 1.., on one or two levels."""

    @property
    @abc.abstractmethod
    def levels(self) -> tuple[tf.Variable, ...]:
        """The variables [rows, dim] of the levels."""

    @abc.abstractmethod
    def rows_of(self, ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Per level the rows of ids [...], integers; 0 where an id has none there."""

    @abc.abstractmethod
    def scale(self, factor: float) -> None:
        """Multiplies initial values, those of rows to come too."""

    def count(self, ids: tf.Tensor) -> None:
        """Takes note of ids met in training."""

    def evict(self, steps: int) -> None:
        """Takes back the rows of ids not met for more than so many steps."""

    def frozen(self, num_ids: int) -> Table:
        """The table of ids 1..num_ids for inference, made of plain variables."""
        return self

    def counts(self) -> dict[str, int]:
        """``size_bytes``; of growing tables also ``admitted``, ``evicted`` (by this training) and ``rows`` (now)."""
        return {"size_bytes": sum(int(tf.size(level)) * level.dtype.size for level in self.levels)}

    def forget_slots(self) -> None:
        """Checkpoints from now on hold no state of optimizers."""


class StaticTable(Table):
    """One row per id.

    Args:
        num_ids: ids are 1..num_ids.
        dim: size of a row.
        seed: [2] of the initial values, normal with deviation dim^-0.5.
        name: of the variable.
    """

    def __init__(self, num_ids: int, dim: int, seed: tuple[int, int], name: str) -> None:
        super().__init__(name=name)
        self._values = tf.Variable(tf.random.stateless_normal([num_ids + 1, dim], seed, stddev=dim**-0.5), name=name)

    @property
    def levels(self) -> tuple[tf.Variable, ...]:
        """One variable [num_ids + 1, dim]."""
        return (self._values,)

    def rows_of(self, ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The ids themselves."""
        return (ids,)

    def scale(self, factor: float) -> None:
        """Multiplies all values."""
        self._values.assign(factor * self._values)


class GrowingTable(Table):
    """Rows for the ids met often enough, in an `EmbeddingVariable`; the others have none (zeros), or share some (adaptive embedding).

    Args:
        dim: size of a row.
        seed: [2] of the initial values.
        step: int64 variable, the number of training steps so far; `count` is called once a step.
        options: when ids get rows of their own, and how many rows the others share.
        name: of the variables.

    Attributes:
        own: the rows of the ids that have one.
    """

    def __init__(self, dim: int, seed: tuple[int, int], *, step: tf.Variable, options: TableOptions, name: str) -> None:
        super().__init__(name=name)
        self._dim, self._seed, self._step, self._shared_rows = dim, seed, step, options.shared_rows
        self._deviation = dim**-0.5
        option = EmbeddingVariableOption(filter_option=CounterFilter(options.promote_after))
        self.own = EmbeddingVariable(dim, option=option, global_step=step, name=f"{name}_own")
        self._shared = StaticTable(options.shared_rows, dim, seed, name) if options.shared_rows else None

    @property
    def levels(self) -> tuple[tf.Variable, ...]:
        """The shared rows [shared_rows + 1, dim], if there are any, and the own rows [None, dim]."""
        return (*(self._shared.levels if self._shared else ()), self.own.table)

    def rows_of(self, ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The own row of an id that has one, else its shared row."""
        own = tf.maximum(self.own.rows_of(ids, insert=False), 0)
        if not self._shared_rows:
            return (own,)
        return tf.where(own > 0, tf.zeros_like(own), self._shared_row(ids)), own

    def _shared_row(self, ids: tf.Tensor) -> tf.Tensor:
        wide = tf.cast(ids, tf.int64)
        return tf.where(wide > 0, 1 + (wide - 1) % self._shared_rows, tf.zeros_like(wide))

    def count(self, ids: tf.Tensor) -> None:
        """Counts ids [n] and gives rows to those met often enough: copies of their shared rows, or random ones that the step decides."""
        wide = tf.cast(ids, tf.int64)

        def start(keys: tf.Tensor) -> tf.Tensor:
            if self._shared is not None:
                return tf.gather(self._shared.levels[0], self._shared_row(keys))
            seed = tf.stack([tf.constant(hash(self._seed) % 2**31, tf.int64), tf.convert_to_tensor(self._step)])
            return tf.random.stateless_normal(tf.stack([tf.size(keys), self._dim]), seed, stddev=self._deviation)

        self.own.rows_of(wide, mask=tf.cast(wide > 0, tf.int32), start=start)

    def scale(self, factor: float) -> None:
        """Multiplies the shared values, and the random ones of rows to come."""
        self._deviation *= factor
        if self._shared is not None:
            self._shared.scale(factor)

    @property
    def grown(self) -> tuple[tf.Variable, ...]:
        """The variables whose size goes with the ids met."""
        return tuple(variable for variable in self.own.variables if variable is not self._step)

    def take_over(self, earlier: Table) -> None:
        """Makes the own rows, counts and slots those of an earlier table; what is admitted and evicted is counted from here.

        Raises:
            ValueError: the earlier table does not grow.
        """
        if not isinstance(earlier, GrowingTable):
            raise ValueError(f"{self.name} takes over tables that grow, got {type(earlier).__name__}")
        self.own.take_over(earlier.own)

    def evict(self, steps: int) -> None:
        """Takes back the rows of ids not counted for more than so many steps; adaptive ones share again, from what the others learnt."""
        self.own.evict(GlobalStepEvict(steps))

    def frozen(self, num_ids: int) -> Table:
        """Plain variables: the rows in use, and per level the row of every id."""
        rows = [np.asarray(level) for level in self.rows_of(tf.range(num_ids + 1, dtype=tf.int64))]
        own = np.concatenate([np.zeros((1, self._dim), np.float32), self.own.export().values])
        values = [*(level.numpy() for level in self._shared.levels), own] if self._shared else [own]
        return FrozenTable(values, rows, str(self.name))

    def counts(self) -> dict[str, int]:
        """Bytes of both levels and of what is kept about ids; rows given out, taken back and in use."""
        own = self.own.counts()
        shared = self._shared.counts()["size_bytes"] if self._shared else 0
        return {**own, "size_bytes": own["size_bytes"] + shared}

    def forget_slots(self) -> None:
        """Checkpoints from now on hold no state of optimizers."""
        self.own.forget_slots()


class FrozenTable(Table):
    """Levels and the row of every id on them, as plain variables: nothing is looked up by key, so it freezes into any graph.

    Args:
        values: per level [rows, dim].
        rows: per level [num_ids + 1], the row of every id, 0 for none.
        name: of the variables.
    """

    def __init__(self, values: list[np.ndarray], rows: list[np.ndarray], name: str) -> None:
        super().__init__(name=name)
        self._values = [tf.Variable(level, trainable=False, name=f"{name}_level_{k}") for k, level in enumerate(values)]
        self._rows = [tf.Variable(level.astype(np.int32), trainable=False, name=f"{name}_rows_{k}") for k, level in enumerate(rows)]

    @property
    def levels(self) -> tuple[tf.Variable, ...]:
        """[rows, dim] each."""
        return tuple(self._values)

    def scale(self, factor: float) -> None:
        """Multiplies all values."""
        for level in self._values:
            level.assign(factor * level)

    def rows_of(self, ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """From the lists."""
        return tuple(tf.gather(rows, ids) for rows in self._rows)
