"""Every user is in one group of each division, and in the right one."""

import numpy as np

from nann.evaluation.groups import bucket_labels, group_figures, user_groups
from nann.evaluation.intervals import wilson

TARGETS = np.array([1, 2, 3, 4])
HISTORIES = np.array([[1, 5, 0, 0, 0], [5, 5, 5, 5, 5], [3, 3, 3, 3, 0], [5, 0, 0, 0, 0]])
TRAIN_COUNTS = np.array([0, 0, 4, 5, 1000, 7])


def test_labels() -> None:
    assert bucket_labels((0, 1, 5)) == ["0", "1-4", "5+"]


def test_users_in_their_groups() -> None:
    groups = user_groups(targets=TARGETS, histories=HISTORIES, train_counts=TRAIN_COUNTS)
    members = {division: {label: np.flatnonzero(mask).tolist() for label, mask in found} for division, found in groups.items()}
    assert members == {
        "target_train_events": {"0": [0], "1-4": [1], "5-19": [2], "100+": [3]},
        "history_length": {"0-3": [0, 3], "4-7": [1, 2]},
        "target_in_history": {"no": [1, 3], "yes": [0, 2]},
    }


def test_figures_are_means_of_the_group() -> None:
    groups = user_groups(targets=TARGETS, histories=HISTORIES, train_counts=TRAIN_COUNTS)
    figures = group_figures(groups, {"recall@5": np.array([1.0, 1.0, 0.0, 0.0])})
    assert figures["history_length"] == [
        {"group": label, "users": 2, "recall@5": 0.5, "intervals": {"recall@5": list(wilson(1, 2))}} for label in ("0-3", "4-7")
    ]
    for division in figures.values():
        assert sum(group["users"] for group in division) == 4
