"""The registry of rules: per op type, what an op makes of deferred inputs.

A rule gets the op and the provenance of its inputs, at least one of them deferred, and returns that of its outputs: the op then runs on
its inputs as they are. It raises `NotProven` when it cannot show that the result is right: the inputs get expanded, which is always
right. It raises `MixesUsers` when the op combines rows of different users: expansion is still right, but what the op computes depends
on how often a user was repeated, so the caller decides (see `compress`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from ops.graph_optimizer.provenance import Dims, Entry, Provenance, Same, UserRows

Rule: TypeAlias = Callable[[Any, Sequence[Provenance]], Sequence[Provenance]]
RULES: dict[str, Rule] = {}


class NotProven(Exception):  # noqa: N818 - a verdict, not an error
    """The rule's conditions do not hold; the inputs must be expanded."""


class MixesUsers(NotProven):
    """The op combines rows of different users; the argument says how."""


def rule(*op_types: str) -> Callable[[Rule], Rule]:
    """Registers a rule for op types."""

    def register(function: Rule) -> Rule:
        for op_type in op_types:
            RULES[op_type] = function
        return function

    return register


def rank_of(tensor: tf.Tensor) -> int:
    """Static rank.

    Raises:
        NotProven: it is not known.
    """
    if tensor.shape.rank is None:
        raise NotProven
    return int(tensor.shape.rank)


def constant_of(tensor: tf.Tensor) -> np.ndarray:
    """Static value.

    Raises:
        NotProven: it is not known.
    """
    value = tf.get_static_value(tensor)
    if value is None:
        raise NotProven
    return np.asarray(value)


def axis_of(tensor: tf.Tensor, rank: int) -> int:
    """A static axis, from 0."""
    axis = int(constant_of(tensor))
    return axis + rank if axis < 0 else axis


def entries_of(tensor: tf.Tensor, provenance: Provenance) -> tuple[Entry, ...]:
    """The integers of a scalar or vector, as far as they are known.

    Raises:
        NotProven: its length is not known, or it holds something else.
    """
    if isinstance(provenance, Dims):
        return provenance.entries
    if isinstance(provenance, UserRows):
        raise NotProven
    known = tf.get_static_value(tensor, partial=True)
    if known is not None:
        flat = [known] if np.ndim(known) == 0 else list(known)
        return tuple(Same(tensor.name, i) if value is None else int(value) for i, value in enumerate(flat))
    if tensor.shape.rank == 0:
        return (Same(tensor.name, 0),)
    if tensor.shape.rank == 1 and tensor.shape[0] is not None:
        return tuple(Same(tensor.name, i) for i in range(tensor.shape[0]))
    raise NotProven


def only_rows(provenance: Provenance) -> UserRows:
    """The provenance as rows of users.

    Raises:
        NotProven: it is something else.
    """
    if not isinstance(provenance, UserRows):
        raise NotProven
    return provenance
