"""Optimizer slots: variables of a table's shape, which whoever owns the table may want to grow and save with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

OWNER = "_nann_embedding_variable"


class Owner(Protocol):
    """What lies under `OWNER` on a variable whose slots grow, move and are saved with it."""

    def attach_slot(self, table: tf.Variable, slot: tf.Variable) -> None:
        """Takes charge of a slot of one of its variables."""


def make_slot(variable: tf.Variable, name: str, value: float = 0.0) -> tf.Variable:
    """A slot of a variable's shape and dtype, every element of the value; its owner, if there is one, takes charge of it."""
    start = tf.fill(tf.shape(variable), tf.cast(value, variable.dtype))
    slot = tf.Variable(start, trainable=False, name=name, shape=variable.shape)
    owner: Owner | None = getattr(variable, OWNER, None)
    if owner is not None:
        owner.attach_slot(variable, slot)
    return slot


def saved_by_optimizer(slots: Sequence[tf.Variable], variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Those of the variables' slots, one each, that no owner saves, because they move and grow with its rows."""
    return [slot for slot, variable in zip(slots, variables, strict=True) if not hasattr(variable, OWNER)]
