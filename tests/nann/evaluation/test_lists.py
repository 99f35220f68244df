"""Batches are put together in order, whatever the batch size and the width of what comes back."""

import numpy as np
import pytest

from nann.evaluation.lists import collect_lists


def echo(item_rows: np.ndarray, cate_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([item_rows, cate_rows], axis=1), item_rows.sum(axis=1)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7])
@pytest.mark.parametrize("width", [1, 4, 6])
def test_lists_are_those_of_one_large_call(batch_size: int, width: int) -> None:
    histories = np.array([[1, 2], [3, 0], [2, 2], [0, 0], [3, 1]], np.int32)
    categories = np.array([0, 10, 20, 30], np.int32)
    lists = collect_lists(echo, histories, categories, width=width, batch_size=batch_size, label="echo")
    expected = np.pad(np.concatenate([histories, categories[histories]], axis=1), ((0, 0), (0, 2)))[:, :width]
    assert lists.item_rows.tolist() == expected.tolist()
    assert lists.items_scored.tolist() == [3, 3, 4, 0, 4]
