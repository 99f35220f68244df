"""The log of a replay: every event in order, and what of it was known at a moment.

Item rows are given anew, in the order of the items' first events, so that "known at time T" is a prefix of the rows and a table that grows
window by window is what incremental conversion would have made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nann.dataset import load_histories, load_items, load_meta
from nann.errors import ArtifactError

HOLD_OUT_SALT = 0x9E3779B97F4A7C15  # Knuth's multiplicative hash, 2^64 / golden ratio


@dataclass(frozen=True)
class ReplayLog:
    """All events of a log (E events, U users, N items), user after user, each in order of time.

    Attributes:
        item_rows: [E] int32, 1..N in the order of the items' first events.
        times: [E] int64 unix seconds.
        starts: [E] int64, the position of the first event of the event's user.
        users: [E] int32, 0..U-1.
        first_times: [N + 1] int64, when the item was first seen; entry 0 is after everything.
        category_rows: [N + 1] int32, in the order of the categories' first items; 0: none.
    """

    item_rows: npt.NDArray[np.int32]
    times: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    users: npt.NDArray[np.int32]
    first_times: npt.NDArray[np.int64]
    category_rows: npt.NDArray[np.int32]

    def items_before(self, moment: int) -> int:
        """Number of items seen before a moment: they have the rows 1..n."""
        return int(np.searchsorted(self.first_times[1:], moment))

    def categories_before(self, moment: int) -> int:
        """Number of categories of the items seen before a moment: they have the rows 1..n."""
        return int(self.category_rows[: self.items_before(moment) + 1].max(initial=0))

    def counts(self, since: int, until: int) -> npt.NDArray[np.int64]:
        """[N + 1] events per item row in since <= time < until."""
        inside = (self.times >= since) & (self.times < until)
        return np.bincount(self.item_rows[inside], minlength=len(self.first_times)).astype(np.int64)


@dataclass(frozen=True)
class Questions:
    """Users at a moment, and what each of them had next (S users).

    Attributes:
        histories: [S, L] int32 item rows before the moment, oldest first, zeros at the end.
        targets: [S] int32 item row of the first event from the moment on.
    """

    histories: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.targets)


def load_replay_log(dataset: Path) -> ReplayLog:
    """Reads the training events of a dataset with their times.

    Raises:
        ArtifactError: the dataset is not of the layout that keeps times, or users were held out of it.
    """
    meta = load_meta(dataset)
    if meta["layout"] != "user":
        raise ArtifactError(f"{dataset} has the layout {meta['layout']}, which keeps no times of all events; convert with --layout user")
    held_out = meta["num_users_per_split"]["validate"] + meta["num_users_per_split"]["test"]
    if held_out:
        raise ArtifactError(f"{dataset} holds {held_out:,} users out of the log; convert with --test-users 0 --validate-users 0")
    histories = load_histories(dataset, times=True)
    if histories.times is None:
        raise ArtifactError(f"{dataset} holds no times of events; run `nann convert` again")
    return number_by_time(histories.item_rows, histories.times, np.diff(histories.row_splits), load_items(dataset).category_rows)


def rows_by_time(
    rows: npt.NDArray[np.integer], times: npt.NDArray[np.int64], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Item rows [n] in the order of their first events, of those below ``count`` that have one, and the times [n] of these."""
    never = np.iinfo(np.int64).max
    first = np.full(count, never)
    np.minimum.at(first, rows, times)
    order = np.argsort(first, kind="stable")  # entry 0, which never occurs, is last, with items without any event
    order = order[first[order] < never]
    return order, first[order]


def number_by_time(
    rows: npt.NDArray[np.integer], times: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], category_rows: npt.NDArray[np.int32]
) -> ReplayLog:
    """Gives rows in the order of first events.

    Args:
        rows: [E] item rows, user after user, each in order of time.
        times: [E] unix seconds.
        lengths: [U] events per user.
        category_rows: [N + 1] category row by item row.
    """
    order, first_times = rows_by_time(rows, times, len(category_rows))
    new_row = np.zeros(len(category_rows), np.int32)
    new_row[order] = np.arange(1, len(order) + 1, dtype=np.int32)
    old_categories = category_rows[order]
    seen, first_place = np.unique(old_categories[old_categories > 0], return_index=True)
    new_category = np.zeros(int(category_rows.max(initial=0)) + 1, np.int32)
    new_category[seen[np.argsort(first_place)]] = np.arange(1, len(seen) + 1, dtype=np.int32)
    row_splits = np.concatenate([[0], np.cumsum(lengths)])
    return ReplayLog(
        item_rows=new_row[rows],
        times=np.asarray(times, np.int64),
        starts=np.repeat(row_splits[:-1], lengths),
        users=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
        first_times=np.concatenate([[np.iinfo(np.int64).max], first_times]),
        category_rows=np.concatenate([np.zeros(1, np.int32), new_category[old_categories]]),
    )


def held_out_users(num_users: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """[U] users that never train: a fixed share of them, by a hash of their number, so that they are the same in every window."""
    with np.errstate(over="ignore"):
        hashed = (np.arange(num_users, dtype=np.uint64) + np.uint64(seed)) * np.uint64(HOLD_OUT_SALT)
    return (hashed >> np.uint64(40)).astype(np.float64) < share * 2.0**24


def windows_before(log: ReplayLog, positions: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int32]:
    """[n, length] item rows of the same users right before the given events, oldest first, zeros at the end."""
    first = np.maximum(log.starts[positions], positions - length)
    columns = first[:, np.newaxis] + np.arange(length)
    inside = columns < positions[:, np.newaxis]
    return np.where(inside, log.item_rows[np.minimum(columns, len(log.item_rows) - 1)], 0).astype(np.int32)


def first_events(
    log: ReplayLog,
    moment: int,
    until: int,
    *,
    length: int,
    min_events: int,
    max_users: int,
    seed: int,
    among: npt.NDArray[np.bool_] | None = None,
) -> Questions:
    """The first event in moment <= time < until of users with enough events before the moment.

    Args:
        log: the events.
        moment, until: unix seconds.
        length: L.
        min_events: events before the moment that a user needs.
        max_users: that many users at random, all if there are no more.
        seed: of the draw.
        among: [U], only these users.
    """
    begins = np.flatnonzero(log.starts == np.arange(len(log.starts)))
    before = np.add.reduceat((log.times < moment).astype(np.int64), begins)
    targets = begins + before
    ends = np.append(begins[1:], len(log.times))
    asked = (before >= min_events) & (targets < ends)
    asked[asked] &= log.times[targets[asked]] < until
    if among is not None:
        asked &= among
    users = np.flatnonzero(asked)
    chosen = np.sort(np.random.default_rng([seed, moment]).permutation(users)[:max_users])
    return Questions(windows_before(log, targets[chosen], length), log.item_rows[targets[chosen]])
