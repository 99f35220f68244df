"""Eviction: which keys go, and the smaller variable without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ops.embedding.variable import snapshot
from ops.embedding.variable.options import GlobalStepEvict, L2WeightEvict
from ops.embedding.variable.storage import ENTRIES, ENTRY_FIELDS, EVICTED, LOOKUPS, ROWS, Storage


def kept(held: dict[str, np.ndarray], option: GlobalStepEvict | L2WeightEvict, step: int) -> np.ndarray:
    """Which entries [e] of a snapshot stay.

    Args:
        held: of `snapshot.take`.
        option: the rule.
        step: now; below 0: the number of lookups.
    """
    if isinstance(option, GlobalStepEvict):
        now = step if step >= 0 else int(held["state"][LOOKUPS])
        return np.asarray(now - held["versions"] <= option.steps_to_live)
    if isinstance(option, L2WeightEvict):
        norms = np.linalg.norm(held["values"].astype(np.float64), axis=1)
        admitted = held["rows"] >= 0
        small = np.zeros(len(admitted), bool)
        small[admitted] = norms[held["rows"][admitted]] < option.l2_weight_threshold
        return ~small
    raise ValueError(f"evict_option must be GlobalStepEvict or L2WeightEvict, got {option!r}")


def without(held: dict[str, np.ndarray], stay: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
    """The snapshot of the entries that stay, their rows numbered anew in the old order; and the number of rows that went."""
    old_rows = held["rows"][stay]
    remaining = np.sort(old_rows[old_rows >= 0])
    new_number = np.full(len(held["values"]) + 1, -1, np.int64)  # the last place serves keys without a row
    new_number[remaining] = np.arange(len(remaining))
    state = held["state"].copy()
    gone = len(held["values"]) - len(remaining)
    state[ENTRIES], state[ROWS] = int(stay.sum()), len(remaining)
    state[EVICTED] += gone
    smaller = {
        **held,
        **{name: held[name][stay] for name in ENTRY_FIELDS},
        "rows": new_number[old_rows],
        "values": held["values"][remaining],
        "slots": held["slots"][:, remaining],
        "state": state,
    }
    return smaller, gone


def evict(storage: Storage, option: Any, *, step: tf.Tensor, session: Any) -> int:
    """See `EmbeddingVariable.evict`."""
    if not storage.graph_mode:
        held = {name: tensor.numpy() for name, tensor in snapshot.take(storage).items()}
        stay = kept(held, option, int(step))
        if stay.all():
            return 0
        smaller, gone = without(held, stay)
        snapshot.restore(storage, {name: tf.constant(array) for name, array in smaller.items()})
        return gone
    if session is None:
        raise ValueError("eviction in a TF1 graph needs the session; pass session=")
    with session.graph.as_default():
        taken = snapshot.take(storage)
        held, now = session.run([taken, step])
        stay = kept(held, option, int(now))
        if stay.all():
            return 0
        smaller, gone = without(held, stay)
        feeds = {name: tf.compat.v1.placeholder(tensor.dtype, [None] * tensor.shape.rank) for name, tensor in taken.items()}
        session.run(snapshot.restore(storage, feeds), {feeds[name]: smaller[name] for name in feeds})
    return gone
