"""Events grouped by user, in time order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.vocabulary import Ids, take_ids


@dataclass(frozen=True)
class UserHistories:
    """All users' events, user after user (ascending user id), each user's events oldest first, ties in file order.

    Attributes:
        user_ids: [U] distinct ids, ascending.
        row_splits: [U + 1] int64; user u's events are [row_splits[u], row_splits[u + 1]).
        item_rows: [E] int32, 1..N.
        times: [E] int64, unix seconds.
        behaviors: [E] uint8, place of the kind of event among those asked for; None where kinds have no weights.
    """

    user_ids: Ids
    row_splits: np.ndarray
    item_rows: np.ndarray
    times: np.ndarray
    behaviors: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """[U] int64, events per user."""
        return np.diff(self.row_splits)

    def select(self, users: np.ndarray) -> UserHistories:
        """The histories of some users ([n] user codes) alone, copied."""
        begins = self.row_splits[users]
        lengths = self.row_splits[users + 1] - begins
        row_splits = np.zeros(len(users) + 1, np.int64)
        np.cumsum(lengths, out=row_splits[1:])
        index = np.arange(row_splits[-1]) + np.repeat(begins - row_splits[:-1], lengths)
        behaviors = None if self.behaviors is None else self.behaviors[index]
        return UserHistories(take_ids(self.user_ids, users), row_splits, self.item_rows[index], self.times[index], behaviors)


def chronological_order(user_codes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The stable order by (user, time).

    One sort of a packed 64-bit key, several times faster than `np.lexsort`, which remains for keys that do not fit.

    Args:
        user_codes: [n] int, not negative.
        times: [n] int64.

    Returns:
        [n] int64 permutation.
    """
    if len(times) == 0:
        return np.zeros(0, np.int64)
    first, last = int(times.min()), int(times.max())
    time_bits = (last - first).bit_length()
    user_bits = int(user_codes.max()).bit_length()
    if time_bits + user_bits > 63:
        return np.lexsort((times, user_codes))
    key = user_codes.astype(np.int64)
    key <<= time_bits
    key |= times - first
    return np.argsort(key, kind="stable")


def duplicate_events(user_codes: np.ndarray, item_codes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Marks events that repeat an earlier one of equal user, item and time.

    Args:
        user_codes: [n], in chronological order per user, as are the others.
        item_codes: [n].
        times: [n].

    Returns:
        [n] bool; the first of each group is not marked.
    """
    repeated = np.zeros(len(times), bool)
    tied = np.zeros(len(times), bool)
    same = (user_codes[1:] == user_codes[:-1]) & (times[1:] == times[:-1])
    tied[1:] |= same
    tied[:-1] |= same
    rows = np.flatnonzero(tied)
    if len(rows) == 0:
        return repeated
    starts = np.concatenate([[True], (user_codes[rows[1:]] != user_codes[rows[:-1]]) | (times[rows[1:]] != times[rows[:-1]])])
    group = np.cumsum(starts)
    order = np.lexsort((item_codes[rows], group))  # stable: file order within equal keys
    ordered, ordered_group = item_codes[rows][order], group[order]
    again = (ordered[1:] == ordered[:-1]) & (ordered_group[1:] == ordered_group[:-1])
    repeated[rows[order[1:][again]]] = True
    return repeated


def group_events(user_codes: np.ndarray, item_rows: np.ndarray, times: np.ndarray, user_ids: Ids) -> UserHistories:
    """Builds the histories from events in chronological order per user.

    Args:
        user_codes: [E] ascending.
        item_rows: [E] int32.
        times: [E] int64, unix seconds.
        user_ids: [U] id per user code; every user has at least one event.
    """
    row_splits = np.zeros(len(user_ids) + 1, np.int64)
    np.cumsum(np.bincount(user_codes, minlength=len(user_ids)), out=row_splits[1:])
    return UserHistories(user_ids, row_splits, item_rows, times)
