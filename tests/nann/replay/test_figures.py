"""Figures of a window on small literal cases."""

import numpy as np
import pytest

from nann.config import TrainConfig
from nann.models import build_model
from nann.replay.figures import choose_best, recall_parts, simple_ranks
from nann.replay.log import Questions, number_by_time
from nann.replay.scan import OUT, ScorerScan, ranks_in_lists

HOUR = 3600


def test_recall_is_split_by_when_the_target_was_first_seen():
    ranks, targets = np.array([0, 3, 1, OUT, 0]), np.array([1, 2, 5, 6, 9])
    found = recall_parts(ranks, targets, (1, 2), items_before=4, items_now=6)
    assert (found["users"], found["known"], found["new"]) == (5, 4, 2)
    assert (found["recall@1"], found["recall@2"]) == (pytest.approx(2 / 5), pytest.approx(3 / 5))
    assert (found["recall_known@2"], found["recall_new@2"], found["recall_older@2"]) == (0.5, 0.5, 0.5)
    assert found["standard_error@2"] == pytest.approx(np.std([1, 0, 1, 0, 1], ddof=1) / np.sqrt(5))
    assert recall_parts(ranks[:1], targets[:1], (1,), items_before=4, items_now=6)["recall_new@1"] is None


def test_ranks_in_lists():
    np.testing.assert_array_equal(ranks_in_lists(np.array([[3, 4], [5, 6], [7, 0]]), np.array([4, 1, 7])), [1, OUT, 0])
    np.testing.assert_array_equal(ranks_in_lists(np.array([3, 4]), np.array([4, 1, 3])), [1, OUT, 0])


def test_simple_methods_know_only_their_hours():
    # Item 1 was read long ago, items 2 and 3 a day and an hour ago, item 4 comes later.
    events = [(1, 0)] * 9 + [(2, 50 * HOUR)] * 3 + [(3, 69 * HOUR)] * 2 + [(4, 71 * HOUR)] * 9
    rows, times = (np.array(column) for column in zip(*events, strict=True))
    log = number_by_time(rows, times, np.ones(len(rows), np.int64), np.zeros(5, np.int32))
    questions = Questions(np.zeros((4, 2), np.int32), np.array([1, 2, 3, 4], np.int32))
    found = simple_ranks(log, 70 * HOUR, questions, 10)
    assert found["popularity_6h"].tolist() == [OUT, OUT, 0, OUT]
    assert found["popularity_24h"].tolist() == [OUT, 0, 1, OUT]
    assert found["item_cf_48h"].tolist() == [OUT, 0, 1, OUT]


@pytest.mark.parametrize("scorer", ["two-sided", "nann"])
def test_scanned_ranks_are_those_of_the_scores(scorer):
    rng = np.random.default_rng(3)
    model = build_model(TrainConfig(scorer=scorer, emb_dim=4), num_items=30, num_categories=3)
    categories = np.concatenate([[0], rng.integers(0, 4, 35)]).astype(np.int32)
    histories, targets = rng.integers(0, 31, (200, 5)).astype(np.int32), rng.integers(1, 36, 200).astype(np.int32)
    log_prior = np.concatenate([[-np.inf], rng.normal(size=30), np.full(5, -np.inf)]).astype(np.float32)
    log_prior[7] = -np.inf
    found = ScorerScan(model, categories, num_items=30).ranks(Questions(histories, targets), log_prior, (0.0, 0.5))
    items = model.encode_item(np.arange(1, 31), categories[1:31])[np.newaxis]
    scores = model.score(model.encode_user(*model.history(histories, categories[histories])), items).numpy()
    for weight, ranks in found.items():
        for user in range(200):
            if targets[user] > 30 or targets[user] == 7:
                assert ranks[user] == OUT
                continue
            total = weight * scores[user] + log_prior[1:31]
            better = int((total > total[targets[user] - 1] + 1e-5).sum())
            at_least = int((total >= total[targets[user] - 1] - 1e-5).sum()) - 1
            assert better <= ranks[user] <= at_least


def test_a_row_the_model_has_not_seen_reads_as_missing():
    model = build_model(TrainConfig(scorer="two-sided", emb_dim=4), num_items=5, num_categories=1)
    categories, prior = np.array([0, 1, 1, 1, 1, 1, 1, 1], np.int32), np.zeros(8, np.float32)
    scan = ScorerScan(model, categories, num_items=5)
    targets = np.array([3, 3], np.int32)
    ranks = scan.ranks(Questions(np.array([[2, 7], [2, 0]], np.int32), targets), prior, (1.0,))[1.0]
    assert ranks[0] == ranks[1]


def test_the_best_of_the_past():
    assert choose_best([], 0.5) == 0.5
    assert choose_best([{1: 0.2, 2: 0.3}, {1: 0.4, 2: 0.1}], 0.5) == 1
