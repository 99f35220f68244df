"""Users of items and items of users, and their bounds, against Python lists."""

import itertools

import numpy as np
import pytest

from nann.evaluation.recommenders import UserItems, user_items


def flatten(users: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for user in users for i in user], dtype=np.int32), np.cumsum([0, *map(len, users)])


def test_both_directions() -> None:
    rng = np.random.default_rng(2)
    users = [rng.integers(1, 9, rng.integers(0, 7)).tolist() for _ in range(25)]
    log = UserItems(*flatten(users), num_items=10)
    of_items = [[user for user, items in enumerate(users) if item in items] for item in range(11)]
    assert log.users_of_item.tolist() == [len(each) for each in of_items]
    assert log.distinct.tolist() == log.lengths.tolist() == [len(set(items)) for items in users]
    found, splits = log.users_of(np.array([4, 10, 1, 4]), 100)
    assert [found[a:b].tolist() for a, b in itertools.pairwise(splits)] == [of_items[4], [], of_items[1], of_items[4]]
    expected = np.zeros((2, 11))
    for row, (user, value) in enumerate(((7, 0.5), (3, 2.0))):
        expected[row, users[user]] = value
    assert np.array_equal(log.rows(np.array([7, 3]), np.array([0.5, 2.0])).toarray(), expected)
    assert log.bounds(100) == {}


def test_users_count_with_their_newest_items_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    users = [rng.integers(1, 12, rng.integers(0, 15)).tolist() for _ in range(30)]
    expected = []
    for user in users:
        newest = list(dict.fromkeys(reversed(user)))[:4]
        expected.append(newest[::-1])
    monkeypatch.setattr(user_items, "MAX_ITEMS_PER_USER", 4)
    long = sum(len(set(user)) > 4 for user in users)
    for at_once in (1, 20, 10_000):
        monkeypatch.setattr(user_items, "EVENTS_AT_ONCE", at_once)
        log = UserItems(*flatten(users), num_items=11)
        splits = np.cumsum([0, *log.lengths])
        assert [log._items[a:b].tolist() for a, b in itertools.pairwise(splits)] == expected
        assert log.distinct.tolist() == [len(set(user)) for user in users]
        assert log.bounds(1000) == {"items_per_user": {"at_most": 4, "reached_by": long}}


def test_an_even_sample_of_the_users_of_frequent_items() -> None:
    """One from each of equal parts, the same each time."""
    log, again = (UserItems(*flatten([[1, 2]] * 1000 + [[2]] * 3), num_items=3, seed=5) for _ in range(2))
    users, splits = log.users_of(np.array([2, 1, 3]), 200)
    assert splits.tolist() == [0, 200, 400, 400]
    assert np.array_equal(users[200:] // 5, np.arange(200))
    assert np.array_equal(users, again.users_of(np.array([2, 1, 3]), 200)[0])
    assert not np.array_equal(users[:200], users[200:])
    assert len(log.users_of(np.array([1]), 1000)[0]) == 1000
    assert log.bounds(200) == {"users_per_item": {"at_most": 200, "reached_by": 2}}
    assert log.bounds(1000) == {"users_per_item": {"at_most": 1000, "reached_by": 1}}


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"1..2, found 1..3"):
        UserItems(*flatten([[1, 3]]), num_items=2)
