"""What is read now: each item's share of the coming window's events, learned from the windows before.

A mixture of distributions over the items, each measurable at a moment: shares of the last hours' events, and equal shares of the items
first seen within the last hours. The weights are those under which the events of the last whole window, as seen from its begin, were most
likely (expectation maximisation for mixture weights; Dempster, Laird and Rubin, 1977), so nothing after the moment is used.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nann.replay.log import ReplayLog

Shares = npt.NDArray[np.float64]

HOUR = 3600
RECENT_HOURS = (1, 3, 6, 12, 24, 72)
NEW_HOURS = (1, 3, 6, 12, 24, 48)
ROUNDS = 100
FLOOR = 1e-3
FEW = (2, 20)  # events of items that are just taking off


def components(log: ReplayLog, moment: int) -> Shares:
    """[M, N + 1] distributions over the item rows, known at the moment; entry 0 and unseen items have no share. One that has no item is 0.

    Args:
        log: the events; those from the moment on are not looked at.
        moment: unix seconds.
    """
    rows = len(log.first_times)
    known = np.arange(rows) <= log.items_before(moment)
    known[0] = False
    day, ever = log.counts(moment - 24 * HOUR, moment), log.counts(0, moment)
    parts = [
        *(log.counts(moment - hours * HOUR, moment) for hours in RECENT_HOURS),
        ever,
        np.sqrt(log.counts(moment - 6 * HOUR, moment)),
        day > 0,
        (day == ever) & (ever >= FEW[0]) & (ever < FEW[1]),
        *(known & (log.first_times >= moment - hours * HOUR) for hours in NEW_HOURS),
        known,
    ]
    stacked = np.stack([part.astype(np.float64) for part in parts])
    shares: Shares = stacked / np.maximum(stacked.sum(axis=1, keepdims=True), 1e-300)
    return shares


def mixture_weights(distributions: Shares, counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """[M] weights, sum 1, under which ``counts`` [N + 1] events were likely; events that no distribution allows are left out."""
    possible = (counts > 0) & (distributions.sum(axis=0) > 0)
    weights = np.full(len(distributions), 1.0 / len(distributions))
    if not possible.any():
        return weights
    allowed, events = distributions[:, possible], counts[possible].astype(np.float64)
    for _ in range(ROUNDS):
        parts = weights[:, np.newaxis] * allowed
        weights = (parts / parts.sum(axis=0) * events).sum(axis=1) / events.sum()
    return weights


def log_prior(log: ReplayLog, moment: int, window_seconds: int) -> npt.NDArray[np.float32]:
    """[N + 1] float32 log share of each item in the window that begins at the moment; -inf for items not seen before it.

    Args:
        log: the events; those from the moment on are not looked at.
        moment: unix seconds.
        window_seconds: length of the windows.
    """
    now, then = components(log, moment), components(log, moment - window_seconds)
    weights = mixture_weights(then, log.counts(moment - window_seconds, moment))
    # A mixture that the last window left without its widest part would rule out whatever that window did not show.
    share = (1 - FLOOR) * (weights @ now) + FLOOR * now[-1]
    share /= share.sum()  # a distribution with weight may have no item now
    with np.errstate(divide="ignore"):
        logs: npt.NDArray[np.float32] = np.log(share).astype(np.float32)
    return logs
