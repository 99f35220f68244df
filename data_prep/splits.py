"""Draws test and validation users, and places the targets of samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.errors import DataError

DEFAULT_SHARE = 10
DEFAULT_LIMIT = 10_000


@dataclass(frozen=True)
class Splits:
    """Users per split, as ascending user codes (int64); together all users, without overlap."""

    train: np.ndarray
    validate: np.ndarray
    test: np.ndarray


def held_out_size(requested: int, num_eligible: int) -> int:
    """Users to hold out: ``requested``, or for -1 a tenth of the eligible ones, at least 1 and at most 10,000."""
    return requested if requested >= 0 else min(DEFAULT_LIMIT, max(1, num_eligible // DEFAULT_SHARE))


def draw_splits(
    lengths: np.ndarray, *, train_min_length: int, test_min_length: int, test_users: int, validate_users: int, seed: int
) -> Splits:
    """Draws held-out users at random from those with more than ``test_min_length`` events; all others train.

    Args:
        lengths: [U] events per user.
        train_min_length: events before a training target.
        test_min_length: events that a held-out user must exceed.
        test_users: number of test users; -1: a tenth of the eligible ones, at most 10,000.
        validate_users: likewise.
        seed: of the draw.

    Raises:
        DataError: too few users are eligible, or no training sample would be left.
    """
    eligible = np.flatnonzero(lengths > test_min_length)
    wanted = test_users != 0 or validate_users != 0
    longest = int(lengths.max(initial=0))
    if wanted and len(eligible) == 0:
        raise DataError(
            f"none of the {len(lengths):,} users has more than test_min_length {test_min_length} events "
            f"(the longest history has {longest}); lower test_min_length, or bring a log with longer histories"
        )
    num_test, num_validate = held_out_size(test_users, len(eligible)), held_out_size(validate_users, len(eligible))
    if num_test + num_validate > len(eligible):
        raise DataError(
            f"test_users {num_test:,} and validate_users {num_validate:,} are to be held out, but only {len(eligible):,} of "
            f"{len(lengths):,} users have more than test_min_length {test_min_length} events; hold out fewer, or bring more users"
        )
    drawn = np.random.default_rng(seed).permutation(eligible)
    test, validate = np.sort(drawn[:num_test]), np.sort(drawn[num_test : num_test + num_validate])
    train = np.setdiff1d(np.arange(len(lengths)), drawn[: num_test + num_validate], assume_unique=True)
    if int(np.maximum(lengths[train] - train_min_length, 0).sum()) == 0:
        raise DataError(
            f"no training sample is left: after holding out {num_test + num_validate:,} users, none of the other {len(train):,} has more "
            f"than train_min_length {train_min_length} events; hold out fewer users, or lower train_min_length"
        )
    return Splits(train.astype(np.int64), validate.astype(np.int64), test.astype(np.int64))


def held_out_targets(row_splits: np.ndarray, users: np.ndarray, test_min_length: int) -> np.ndarray:
    """Event index of each held-out user's target: position m + floor((len - m) / 2) of the history, m = ``test_min_length``.

    Args:
        row_splits: [U + 1] of the histories.
        users: [n] user codes with more than m events.
        test_min_length: m.

    Returns:
        [n] int64 event indices.
    """
    lengths = row_splits[users + 1] - row_splits[users]
    targets: np.ndarray = row_splits[users] + test_min_length + (lengths - test_min_length) // 2
    return targets


def train_targets(row_splits: np.ndarray, users: np.ndarray, train_min_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Event index of every training target, users in order: every position from ``train_min_length`` on.

    Args:
        row_splits: [U + 1] of the histories.
        users: [n] user codes.
        train_min_length: first target position.

    Returns:
        targets: [S] int64 event indices.
        starts: [S] int64, the event index at which the target's user starts.
    """
    begins = row_splits[users]
    counts = np.maximum(row_splits[users + 1] - begins - train_min_length, 0)
    ends = np.cumsum(counts)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
    starts = np.repeat(begins, counts)
    return starts + train_min_length + within, starts
