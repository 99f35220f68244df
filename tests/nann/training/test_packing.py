"""Packed rows: every target once an epoch, each with its own user's events before it, the same batch whenever it is asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.config import TrainConfig
from nann.dataset import Histories
from nann.training.batches import NoiseSampler
from nann.training.packing import PackedBatches, row_width

ITEMS = 50


def histories_of(lengths: list[int], first_target: int, weights: bool = False) -> Histories:
    """Item rows that tell where an event stands."""
    total = sum(lengths)
    rng = np.random.default_rng(total)
    return Histories(
        rng.integers(1, ITEMS + 1, total).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        first_target,
        times=np.arange(total, dtype=np.int64) + 1,
        weights=rng.random(total).astype(np.float32) + 0.5 if weights else None,
    )


def packed(histories: Histories, **options) -> PackedBatches:
    sampler = NoiseSampler(np.concatenate([[0], np.ones(ITEMS, np.int64)]))
    config = TrainConfig(num_neg=7, **{"batch_size": 16, "epochs": 1, **options})
    return PackedBatches(histories, max_length=10, sampler=sampler, config=config, inputs=("time",))


def targets_of(batches: PackedBatches, steps: range) -> list[tuple[int, int, int]]:
    """Of every target: the time of the event before it (which tells the place), its item, and the number of its piece's events so far."""
    found = []
    for step in steps:
        parts = batches.parts(step)
        for row in range(len(parts["histories"])):
            for column in np.flatnonzero(parts["weights"][row]):
                piece = parts["segments"][row]
                before = int(np.sum(piece[: column + 1] == piece[column]))
                found.append((int(parts["input_time"][row, column]), int(parts["targets"][row, column]), before))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.integers(1, 4))
def test_an_epoch_holds_every_target_once_after_its_own_users_events(lengths: list[int], first_target: int) -> None:
    histories = histories_of(lengths, first_target)
    expected = {
        start + place: min(place, row_width(10) // 2)
        for start, length in zip(histories.row_splits, lengths, strict=False)
        for place in range(first_target, length)
    }
    if not expected:
        with pytest.raises(ValueError, match="no training user has more than"):
            packed(histories)
        return
    batches = packed(histories, batch_size=8)  # a row a step: the epoch is whole steps
    assert batches.num_samples == len(expected)
    found = targets_of(batches, range(batches.wanted_steps))
    assert sorted(time for time, _, _ in found) == sorted(expected)  # the time of the event before a target is its place
    for time, item, before in found:
        assert item == histories.item_rows[time]
        assert before >= expected[time]


def test_a_position_reads_its_own_user_only() -> None:
    histories = histories_of([5, 9, 3, 20], 1)
    parts = packed(histories).parts(0)
    user_of = np.repeat(np.arange(4), [5, 9, 3, 20])
    for row, segments in enumerate(parts["segments"]):
        for number in set(segments[segments > 0]):
            times = parts["input_time"][row][segments == number]
            assert len({user_of[time - 1] for time in times}) == 1
            assert np.all(np.diff(times) == 1)
            np.testing.assert_array_equal(parts["histories"][row][segments == number], histories.item_rows[times - 1])
    assert np.all(parts["histories"][parts["segments"] == 0] == 0)


def test_a_batch_is_a_function_of_the_step() -> None:
    histories = histories_of([int(length) for length in np.random.default_rng(1).integers(1, 40, 200)], 1)
    batches, again = packed(histories, epochs=3), packed(histories, epochs=3)
    asked = [batches.parts(step) for step in range(batches.steps)]
    for step in (batches.steps - 1, 0, batches.steps // 2):
        for name, part in again.parts(step).items():
            np.testing.assert_array_equal(part, asked[step][name], err_msg=name)
            spec = batches.signature[name]
            assert (spec.dtype, spec.shape.is_compatible_with(part.shape)) == (part.dtype, True)
    assert np.any(asked[0]["histories"] != asked[batches.steps // 3]["histories"])


def test_weights_are_those_of_the_targets() -> None:
    histories = histories_of([4, 30, 100], 2, weights=True)
    parts = packed(histories, batch_size=64).parts(0)
    counted = parts["weights"] > 0
    np.testing.assert_array_equal(parts["weights"][counted], histories.weights[parts["input_time"][counted]])


def test_max_steps_ends_it() -> None:
    histories = histories_of([10] * 100, 1)
    assert packed(histories, epochs=5).steps == packed(histories, epochs=5).wanted_steps > 3
    assert packed(histories, epochs=5, max_steps=3).steps == 3
