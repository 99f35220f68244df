"""How a tensor of the compressed graph relates to the same tensor of the original one.

The original graph is fed with R rows: the rows of U users, each repeated `item_size` times, beside R item rows. In the compressed graph
a tensor either has its original value (`EXACT`), or it is *deferred*: a smaller value from which the original one follows by an expansion
that each class below names. A rule (`rules`) may compute deferred outputs from deferred inputs; whatever has no proven rule gets
expanded inputs and is thereby exact. Nothing is decided by reachability alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

OPAQUE = 0


@dataclass(frozen=True)
class Exact:
    """The original value."""


@dataclass(frozen=True)
class UserRows:
    """One slice per user along an axis; the original has that slice once per item of the user.

    Attributes:
        axis: the axis, from 0.
        block: rows each user has there, one after the other: 1, a known number, or `OPAQUE` when it is not known statically.
    """

    axis: int
    block: int = 1


@dataclass(frozen=True)
class Users:
    """An integer that is U * block here and R * block in the original."""

    block: int = 1


@dataclass(frozen=True)
class Same:
    """An integer that both graphs share but whose value is not known statically: the i-th of a tensor, or an axis of one."""

    source: str
    index: int


Entry: TypeAlias = int | Users | Same


@dataclass(frozen=True)
class Dims:
    """A scalar or vector of integers some of which count users: what `tf.shape` of a user tensor gives, and what is made of it.

    Attributes:
        entries: the values, one of them for a scalar.
        scalar: it has no axis.
    """

    entries: tuple[Entry, ...]
    scalar: bool = False

    @property
    def counts_users(self) -> bool:
        """Some entry differs between the two graphs."""
        return any(isinstance(entry, Users) for entry in self.entries)


@dataclass(frozen=True)
class Listed:
    """A TensorList or TensorArray whose elements have rows of users; `element` is None for one that is still empty."""

    element: UserRows | None


@dataclass(frozen=True)
class SparseIndices:
    """Indices [entries, rank] of a sparse tensor whose row is the user; `group` names it."""

    group: str


@dataclass(frozen=True)
class SparseEntries:
    """A tensor with one row per entry of a sparse tensor (its values, or what is made of them one by one)."""

    group: str


@dataclass(frozen=True)
class SparseSegments:
    """Column 0 of a sparse tensor's indices: the user of each entry, [entries]."""

    group: str


@dataclass(frozen=True)
class UniqueRows:
    """One row per distinct value of a sparse tensor's entries: rows of `tf.unique` and what is made of them one by one."""

    group: str
    unique: str


@dataclass(frozen=True)
class UniquePositions:
    """[entries] positions of a sparse tensor's entries among the distinct values of `unique`."""

    group: str
    unique: str


@dataclass(frozen=True)
class SparsePicked:
    """Numbers of some entries of a sparse tensor, picked entry by entry; what is gathered by them is a sparse tensor named `picked`."""

    group: str
    picked: str


@dataclass(frozen=True)
class RaggedSplits:
    """Row splits [U + 1] of a ragged tensor whose rows are users; the values are `SparseEntries` of the same group."""

    group: str


Provenance: TypeAlias = (
    Exact
    | UserRows
    | Dims
    | Listed
    | SparseIndices
    | SparseEntries
    | SparseSegments
    | UniqueRows
    | UniquePositions
    | SparsePicked
    | RaggedSplits
)
EXACT = Exact()


def join(a: Provenance | None, b: Provenance | None) -> Provenance:
    """What holds on both of two paths that meet; None is a path not seen yet."""
    if a is None or b is None:
        return (b if a is None else a) or EXACT
    if a == b:
        return a
    if isinstance(a, Listed) and isinstance(b, Listed) and (a.element is None or b.element is None):
        return a if b.element is None else b
    return EXACT
