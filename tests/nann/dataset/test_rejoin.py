"""Histories from samples, with and without user ids, whatever the batches."""

from itertools import pairwise

import numpy as np
import pytest

from nann.dataset.rejoin import Rejoiner


def samples_of(histories: list[list[int]], first: int, max_length: int) -> list[tuple[int, list[int], int]]:
    return [
        (user, history[max(0, place - max_length) : place], history[place])
        for user, history in enumerate(histories)
        for place in range(first, len(history))
    ]


@pytest.mark.parametrize("with_ids", [True, False])
@pytest.mark.parametrize("batch", [1, 3, 1000])
@pytest.mark.parametrize("first", [1, 2])
def test_histories_come_back(with_ids: bool, batch: int, first: int) -> None:
    rng = np.random.default_rng(batch)
    histories = [rng.integers(1, 50, rng.integers(1, 15)).tolist() for _ in range(60)]
    samples = samples_of(histories, first, max_length=5)
    rejoiner = Rejoiner(5)
    for begin in range(0, len(samples), batch):
        some = samples[begin : begin + batch]
        splits = np.cumsum([0, *(len(history) for _, history, _ in some)])
        values = np.array([item for _, history, _ in some for item in history], np.int64)
        users = np.array([user for user, _, _ in some]) if with_ids else None
        rejoiner.add(values, splits, np.array([target for _, _, target in some]), users)
    events, row_splits = rejoiner.finish()
    found = [events[a:b].tolist() for a, b in pairwise(row_splits)]
    assert found == [history for history in histories if len(history) > first]


def test_no_samples_are_no_users() -> None:
    events, row_splits = Rejoiner(5).finish()
    assert (len(events), row_splits.tolist()) == (0, [0])
