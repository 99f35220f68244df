"""The split by time: everything before a moment trains, a user's first event from then on is a target.

All users train with their events before the moment, those held out too; their later events are left out. Unlike the split by users this
measures what a model knows about a time it has not seen: new items, and tastes that have moved on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.counting import Counts
from data_prep.errors import DataError
from data_prep.histories import UserHistories
from data_prep.parallel import ordered_map
from data_prep.partitions import Partitions, load_partition
from data_prep.splits import Splits, held_out_size


def count_before(work: Path, partitions: Partitions, counts: Counts, moment: int, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts the events before a moment.

    Args:
        work: directory of the partition files.
        partitions: their layout.
        counts: of the log.
        moment: in the log's unit.
        workers: threads.

    Returns:
        [U] int64 events per user, and [N] int64 events per item code, before the moment.
    """
    of_users, of_items = np.zeros(len(counts.user_ids), np.int64), np.zeros(len(counts.item_ids), np.int64)

    def count(partition: int) -> tuple[int, np.ndarray, np.ndarray]:
        events = load_partition(work, partitions, partition)
        early = events.times < moment
        return events.first_user, np.bincount(events.user_codes[early]), np.bincount(events.item_codes[early])

    for first_user, users, items in ordered_map(count, range(len(partitions)), workers):
        of_users[first_user : first_user + len(users)] += users
        of_items[: len(items)] += items
    return of_users, of_items


def draw_time_splits(
    before: np.ndarray,
    lengths: np.ndarray,
    *,
    train_min_length: int,
    test_min_length: int,
    test_users: int,
    validate_users: int,
    seed: int,
) -> Splits:
    """Draws held-out users at random from those with enough events before the moment and one from then on; all users train.

    Args:
        before: [U] events per user before the moment.
        lengths: [U] all events per user.
        train_min_length: events before a training target.
        test_min_length: events that a held-out user has before the moment, at least.
        test_users: number of test users; -1: a tenth of the eligible ones, at most 10,000.
        validate_users: likewise; other users of the same kind.
        seed: of the draw.

    Returns:
        The splits; `train` are the users with an event before the moment, also those who are held out.

    Raises:
        DataError: too few users are eligible, or there is no training sample.
    """
    eligible = np.flatnonzero((before >= test_min_length) & (lengths > before))
    if (test_users != 0 or validate_users != 0) and len(eligible) == 0:
        raise DataError(
            f"no user has {test_min_length} events before split_time and one from then on ({int((before > 0).sum()):,} users have events "
            f"before it, {int((lengths > before).sum()):,} from then on); move split_time, or lower test_min_length"
        )
    num_test, num_validate = held_out_size(test_users, len(eligible)), held_out_size(validate_users, len(eligible))
    if num_test + num_validate > len(eligible):
        raise DataError(
            f"test_users {num_test:,} and validate_users {num_validate:,} are to be held out, but only {len(eligible):,} of "
            f"{len(lengths):,} users have {test_min_length} events before split_time and one from then on; hold out fewer"
        )
    if int(np.maximum(before - train_min_length, 0).sum()) == 0:
        raise DataError(
            f"no training sample lies before split_time: of {len(lengths):,} users none has more than train_min_length "
            f"{train_min_length} events before it; move split_time, or lower train_min_length"
        )
    drawn = np.random.default_rng(seed).permutation(eligible)
    test, validate = np.sort(drawn[:num_test]), np.sort(drawn[num_test : num_test + num_validate])
    return Splits(np.flatnonzero(before > 0).astype(np.int64), validate.astype(np.int64), test.astype(np.int64))


def first_later_events(histories: UserHistories, users: np.ndarray, moment: int) -> np.ndarray:
    """Event index of each user's first event from the moment on; the users have one.

    Args:
        histories: all users.
        users: [n] user codes.
        moment: unix seconds.
    """
    later = np.concatenate([[0], np.cumsum(histories.times >= moment)])
    ends = histories.row_splits[users + 1]
    found: np.ndarray = ends - (later[ends] - later[histories.row_splits[users]])
    return found


def cut_at(histories: UserHistories, moment: int) -> UserHistories:
    """The same users with their events before the moment; users without one keep an empty history."""
    early = histories.times < moment
    row_splits = np.concatenate([[0], np.cumsum(early)])[histories.row_splits].astype(np.int64)
    behaviors = None if histories.behaviors is None else histories.behaviors[early]
    return UserHistories(histories.user_ids, row_splits, histories.item_rows[early], histories.times[early], behaviors)
