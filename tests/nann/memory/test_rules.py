"""Sequential rules against their formula, written out pair by pair, and the search for their options."""

from collections import Counter

import numpy as np
import pytest

from nann.memory.rules import WINDOW, CategoryShares, RuleOptions, SequentialRules, recency_weights
from nann.memory.search import choose_options, target_ranks
from ops.pair_counts import PairCounter

ITEMS, CATEGORIES = 12, 3
CATEGORY_ROWS = np.array([0, *(item % (CATEGORIES + 1) for item in range(1, ITEMS + 1))])


def some_users(count: int = 40, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1, ITEMS + 1, rng.integers(1, 20)).tolist() for _ in range(count)]


def rules_of(users: list[list[int]], keep: int = ITEMS) -> SequentialRules:
    lengths = np.array([len(user) for user in users])
    rows = np.array([item for user in users for item in user])
    counter = PairCounter(rows, np.concatenate([[0], np.cumsum(lengths)]), num_items=ITEMS, window=WINDOW)
    return SequentialRules(counter, lengths, category_rows=CATEGORY_ROWS, num_categories=CATEGORIES, keep=keep)


def score_by_hand(users: list[list[int]], history: list[int], item: int, options: RuleOptions) -> float:
    events = Counter(row for user in users for row in user)
    of_category = Counter(CATEGORY_ROWS[row] for user in users for row in user)

    def pairs(source: int, near: int | None) -> float:
        total = 0.0
        for user in users:
            for place, row in enumerate(user):
                for gap in range(1, WINDOW + 1):
                    for other, weight in ((place + gap, 1.0), (place - gap, options.back)):
                        if row == source and 0 <= other < len(user) and near in (None, user[other]):
                            total += weight / gap / len(user) ** options.activity
        return total

    score, total = 0.0, sum(options.decay**age for age in range(len(history)))
    for age, source in enumerate(reversed(history)):
        rule = pairs(source, item) / max((pairs(source, None) + options.shrink) * max(events[item], 1) ** options.popularity, 1e-300)
        category = CATEGORY_ROWS[item]
        same = category > 0 and category == CATEGORY_ROWS[source]
        share = (events[item] + 0.5) / max(of_category[category], 1) if same else 0.0
        score += options.decay**age / total * (rule + options.own * (item == source) + options.category * share)
    return score


@pytest.mark.parametrize(
    "options", [RuleOptions(), RuleOptions(0, 0, 0, 0, 1, 0, 0), RuleOptions(1, 1, 0.5, 10, 0.3, 2, 1), RuleOptions(category=0)]
)
def test_scores_are_those_of_the_formula(options) -> None:
    users, histories = some_users(), np.array([[3, 7, 3, 1], [5, 0, 0, 0], [0, 0, 0, 0]])
    rules = rules_of(users)
    sources = np.unique(histories[histories > 0])
    scores = rules.scores(histories, rules.matrix(sources, rules.count(sources, options), options), options).toarray()
    for number, history in enumerate(histories):
        rows = [int(row) for row in history if row]
        expected = [score_by_hand(users, rows, item, options) for item in range(1, ITEMS + 1)] if rows else [0.0] * ITEMS
        np.testing.assert_allclose(scores[number, 1:], expected, rtol=1e-4, atol=1e-7)


def test_weights_fall_with_age_and_sum_to_one() -> None:
    weights = recency_weights(np.array([[4, 0, 5, 6, 0], [0, 0, 0, 0, 0]]), 0.5)
    np.testing.assert_allclose(weights, [[1 / 7, 0, 2 / 7, 4 / 7, 0], [0, 0, 0, 0, 0]])


def test_a_category_keeps_its_items_with_the_most_events() -> None:
    counts = np.array([0, 5, 1, 3, 3, 0])
    shares = CategoryShares.of(np.array([0, 1, 1, 1, 2, 0]), counts, num_categories=2, keep=2)
    assert shares.row_splits.tolist() == [0, 0, 2, 3]
    assert shares.items.tolist() == [1, 3, 4]
    np.testing.assert_allclose(shares.shares, [5.5 / 9, 3.5 / 9, 3.5 / 3])


def test_the_search_finds_that_pairs_go_forward() -> None:
    """Item i is always followed by i + 1: what came before a source says nothing, and what came long ago little."""
    rng = np.random.default_rng(1)
    users = [[(start + step) % ITEMS + 1 for step in range(6)] for start in rng.integers(0, ITEMS, 80)]
    rules = rules_of(users)
    histories = np.array([[(start + step) % ITEMS + 1 for step in range(3)] for start in range(ITEMS)])
    targets = np.array([(start + 3) % ITEMS + 1 for start in range(ITEMS)])
    worst = RuleOptions(back=1.0, decay=0.9, own=0.0, category=0.0)
    found = choose_options(rules, histories, targets, start=worst, ks=(1,))
    assert found.recall == 1.0
    assert found.options.back < 1.0
    assert set(found.tried) == {"activity", "back", "decay", "own", "category", "popularity", "shrink"}


def test_ranks_count_what_scores_above_the_target() -> None:
    import scipy.sparse as sp

    scores = sp.csr_matrix(np.array([[0, 3.0, 1.0, 2.0], [0, 0, 5.0, 0], [0, 1.0, 1.0, 0]]))
    assert target_ranks(scores, np.array([2, 1, 1])).tolist() == [2, 4, 0]
