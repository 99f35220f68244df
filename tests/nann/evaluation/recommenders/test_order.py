"""What ends every list, against sorting everything."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from nann.evaluation.recommenders.order import best_scored, largest_of_rows, most_counted, positions_of_best

# Few values, some of them apart by less than what counts as equal, and large ones, so that there are ties of every kind.
score = st.sampled_from([0.1, 0.1 + 2e-13, 0.1 - 2e-13, 0.3, 1 / 3, 1 / 3 + 1e-16, 7.0, 20_000.1, 20_000.1 + 4e-12, 1e9])


@given(scores=st.lists(score, min_size=1, max_size=30), k=st.integers(1, 12), seed=st.integers(0, 5))
def test_the_best_by_score_then_row(scores: list[float], k: int, seed: int) -> None:
    items = np.random.default_rng(seed).permutation(100)[: len(scores)]
    expected = sorted(range(len(scores)), key=lambda place: (-np.round(scores[place], 12), items[place]))[:k]
    assert best_scored(items, np.array(scores), k).tolist() == items[expected].tolist()
    assert positions_of_best(items, np.array(scores), k).tolist() == sorted(expected)


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=30), k=st.integers(1, 12), guess=st.integers(0, 6))
def test_the_most_counted_whatever_the_guess(counts: list[int], k: int, guess: int) -> None:
    rows = sorted((row for row in range(1, len(counts)) if counts[row]), key=lambda row: (-counts[row], row))
    assert most_counted(np.array(counts, np.int32), k, guess=guess).tolist() == rows[:k]


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_the_largest_of_each_row(most: int) -> None:
    dense = np.random.default_rng(most).integers(0, 4, (6, 5)).astype(np.float64)
    found = largest_of_rows(sp.csr_matrix(dense), most).toarray()
    for row, values in zip(found, dense, strict=True):
        kept = sorted(np.flatnonzero(values), key=lambda column: (-values[column], column))[:most]
        expected = np.zeros(5)
        expected[kept] = values[kept]
        assert row.tolist() == expected.tolist()
