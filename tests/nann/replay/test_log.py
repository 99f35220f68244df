"""What is known at a moment, and who is asked what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.config import ConvertConfig
from nann.errors import ArtifactError
from nann.replay.log import first_events, held_out_users, load_replay_log, number_by_time, windows_before
from nann.steps.convert import convert

USERS = st.lists(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 40)), min_size=1, max_size=8), min_size=1, max_size=6)
CATEGORIES = np.array([0, 3, 3, 0, 1, 2, 2, 1, 3, 0], np.int32)


def make(users):
    users = [sorted(user, key=lambda event: event[1]) for user in users]
    rows = np.array([item for user in users for item, _ in user])
    times = np.array([time for user in users for _, time in user])
    return users, number_by_time(rows, times, np.array([len(user) for user in users]), CATEGORIES)


@given(users=USERS, moment=st.integers(0, 45))
def test_what_is_known_at_a_moment_is_a_prefix_of_the_rows(users, moment):
    users, log = make(users)
    events = [event for user in users for event in user]
    earlier = {item for item, time in events if time < moment}
    assert log.items_before(moment) == len(earlier)
    item_of_row = dict(zip(log.item_rows.tolist(), (item for item, _ in events), strict=True))
    assert {item_of_row[row] for row in range(1, len(earlier) + 1)} == earlier
    categories = {int(CATEGORIES[item]) for item in earlier} - {0}
    assert log.categories_before(moment) == len(categories)
    for row, item in item_of_row.items():
        assert (log.category_rows[row] == 0) == (CATEGORIES[item] == 0)
        assert log.first_times[row] == min(time for other, time in events if other == item)
    counts = log.counts(0, moment)
    assert counts.sum() == sum(time < moment for _, time in events)


@given(users=USERS, moment=st.integers(0, 45), length=st.integers(1, 5), least=st.integers(0, 3))
def test_the_first_event_from_the_moment_on_is_asked(users, moment, length, least):
    users, log = make(users)
    row_of_item = dict(zip((item for user in users for item, _ in user), log.item_rows.tolist(), strict=True))
    expected = []
    for user in users:
        before, after = [i for i, time in user if time < moment], [i for i, time in user if moment <= time < moment + 10]
        if len(before) >= least and after:
            history = [row_of_item[item] for item in before[-length:]]
            expected.append((*history, *[0] * (length - len(history)), row_of_item[after[0]]))
    found = first_events(log, moment, moment + 10, length=length, min_events=least, max_users=100, seed=1)
    assert [(*history, target) for history, target in zip(found.histories.tolist(), found.targets.tolist(), strict=True)] == expected
    assert len(first_events(log, moment, moment + 10, length=length, min_events=least, max_users=1, seed=1)) == min(1, len(expected))


def test_histories_end_before_the_event():
    _, log = make([[(5, 1), (6, 2), (7, 3)], [(8, 1), (9, 9)]])
    np.testing.assert_array_equal(windows_before(log, np.array([0, 2, 4]), 2), [[0, 0], [1, 3], [2, 0]])


def test_held_out_users_are_a_share_and_stay_the_same():
    few, many = held_out_users(1000, 0.05, 1), held_out_users(100_000, 0.05, 1)
    np.testing.assert_array_equal(few, many[:1000])
    assert many.mean() == pytest.approx(0.05, abs=0.004)
    assert not held_out_users(1000, 0.0, 1).any()
    assert (held_out_users(1000, 0.05, 2) != few).any()


def test_a_dataset_without_all_events_or_times_is_refused(small_log, small_dataset, tmp_path):
    with pytest.raises(ArtifactError, match=r"holds .* users out of the log; convert with --test-users 0 --validate-users 0"):
        load_replay_log(small_dataset)
    convert(inputs=[small_log], dataset=tmp_path / "samples", config=ConvertConfig(layout="sample", test_users=0, validate_users=0))
    with pytest.raises(ArtifactError, match="has the layout sample"):
        load_replay_log(tmp_path / "samples")
    convert(inputs=[small_log], dataset=tmp_path / "users", config=ConvertConfig(shards=2, test_users=0, validate_users=0))
    log = load_replay_log(tmp_path / "users")
    lines = [line.split(",") for line in small_log.read_text().splitlines()]
    assert len(log.times) == len(lines)
    assert sorted(log.times.tolist()) == sorted(int(line[-1]) for line in lines)
