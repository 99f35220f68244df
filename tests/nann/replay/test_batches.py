"""Batches close in time: every sample once an epoch, candidates of the same hours, the same batch whenever it is asked for."""

import numpy as np
import pytest

from nann.config import TrainConfig
from nann.replay.batches import JITTER_SECONDS, SPREAD, TimedBatches, training_positions
from nann.replay.log import number_by_time


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 9, 300)
    times = np.concatenate([np.sort(rng.integers(0, 40 * 3600, length)) for length in lengths])
    return number_by_time(rng.integers(1, 80, len(times)), times, lengths, np.zeros(80, np.int32))


def test_positions_are_first_events_after_a_gap(log):
    nobody = np.zeros(300, bool)
    found = training_positions(log, 3600, 30 * 3600, min_gap_seconds=1800, left_out=nobody)
    expected = [
        place
        for place in range(1, len(log.times))
        if log.users[place] == log.users[place - 1]
        and 3600 <= log.times[place] < 30 * 3600
        and log.times[place] - log.times[place - 1] >= 1800
    ]
    assert found.tolist() == expected
    without = training_positions(log, 3600, 30 * 3600, min_gap_seconds=1800, left_out=np.arange(300) == log.users[expected[0]])
    assert set(log.users[without]) == set(log.users[found]) - {log.users[expected[0]]}


def test_an_epoch_holds_every_sample_and_batches_are_close_in_time(log):
    positions = training_positions(log, 0, 40 * 3600, min_gap_seconds=0, left_out=np.zeros(300, bool))
    config = TrainConfig(batch_size=64, num_neg=32, epochs=1)
    source = TimedBatches(log, positions, max_length=4, config=config)
    batches = [source.batch(step) for step in range(source.steps)]
    targets = np.concatenate([batch.targets for batch in batches])
    extra = source.steps * 64 - len(positions)
    assert 0 <= extra < 64
    counts, expected = np.bincount(targets, minlength=80), np.bincount(log.item_rows[positions], minlength=80)
    assert (counts >= expected).all()
    assert counts.sum() == expected.sum() + extra
    for batch in batches:
        assert batch.histories.shape == (64, 4)
        assert batch.negatives.shape == (1, 32)
    again = TimedBatches(log, positions, max_length=4, config=config)
    np.testing.assert_array_equal(again.batch(3).negatives, batches[3].negatives)
    np.testing.assert_array_equal(again.batch(3).histories, batches[3].histories)


def test_candidates_are_of_the_same_hours():
    """One item an hour: the targets and negatives of a batch then say their times."""
    hours = 400
    times = np.repeat(np.arange(hours) * 3600, 2) + np.tile([0, 1], hours)
    log = number_by_time(np.repeat(np.arange(1, hours + 1), 2), times, np.full(hours, 2), np.zeros(hours + 1, np.int32))
    positions = np.arange(1, 2 * hours, 2)
    source = TimedBatches(log, positions, max_length=2, config=TrainConfig(batch_size=10, num_neg=50, epochs=2))
    reach = (SPREAD + 1) * 10 + 2 * JITTER_SECONDS / 3600
    spread = []
    for step in range(source.steps):
        batch = source.batch(step)
        spread.append(np.ptp(batch.targets))
        assert np.abs(batch.negatives - np.median(batch.targets)).max() <= reach
    assert np.median(spread) <= 12
    assert len({int(source.batch(step).targets[0]) for step in range(source.steps)}) > source.steps // 4  # batches are shuffled


def test_no_samples_are_no_steps(log):
    assert TimedBatches(log, np.zeros(0, np.int64), max_length=2, config=TrainConfig()).steps == 0
