"""Times of events from the differences that records hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def times_of_steps(steps: npt.NDArray[np.int64], row_splits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Times [E] from `time_steps` [E] of users with the given row splits [U + 1]: running sums within each user."""
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(steps)])
    times: npt.NDArray[np.int64] = sums[1:] - np.repeat(sums[row_splits[:-1]], np.diff(row_splits))
    return times


def times_before(
    target_times: npt.NDArray[np.int64], row_splits: npt.NDArray[np.int64], seconds_to_next: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Times [v] of the histories of samples: the target's time less all seconds from the event on.

    Args:
        target_times: [n] `gt_time`.
        row_splits: [n + 1] of the histories.
        seconds_to_next: [v].
    """
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(seconds_to_next)])
    times: npt.NDArray[np.int64] = np.repeat(target_times - sums[row_splits[1:]], np.diff(row_splits)) + sums[:-1]
    return times
