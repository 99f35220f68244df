"""A growing table in the store of a `.keras` file, which holds arrays of numbers by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ops.embedding.variable.storage import ENTRIES, ENTRY_FIELDS, STAMP, Storage, assign, new_stamp


def save(storage: Storage, store: Any) -> None:
    """Table, keys and counts; strings as their bytes one after the other with their lengths."""
    state = storage.state.numpy()
    used, state[STAMP] = int(state[ENTRIES]), 0
    held = {name: getattr(storage, name).numpy()[:used] for name in ENTRY_FIELDS}
    if storage.key_dtype == tf.string:
        keys = held.pop("keys").tolist()
        held["keys_bytes"] = np.frombuffer(b"".join(keys), np.uint8)
        held["keys_lengths"] = np.asarray([len(key) for key in keys], np.int64)
    if storage.bloom is not None:
        held["bloom"] = storage.bloom.numpy()
    for name, value in {**held, "state": state, "table": storage.tables[0].numpy()}.items():
        store[name] = value


def _check(storage: Storage, held: dict[str, np.ndarray]) -> None:
    """Refuses what another table wrote, before anything is changed."""
    counters = 0 if storage.bloom is None else int(tf.size(storage.bloom))
    wanted = {"key_dtype": storage.key_dtype.name, "output_dim": storage.dim, "counters of the Bloom filter": counters}
    keys = "string" if "keys_lengths" in held else "int64"
    found = {"key_dtype": keys, "output_dim": held["table"].shape[-1], "counters of the Bloom filter": len(held.get("bloom", ()))}
    for name, value in found.items():
        if value != wanted[name]:
            raise ValueError(
                f"{name} must be {wanted[name]}, as this layer's, got {value} in the file; make the layer as it was when saved"
            )


def load(storage: Storage, store: Any) -> None:
    """What `save` wrote, into a table of any capacity.

    Raises:
        ValueError: the file holds something else.
    """
    missing = {"state", "table", "rows"} - set(store.keys())
    if missing:
        raise ValueError(f"the file holds no table that grows: {', '.join(sorted(missing))} missing; make the layer as it was when saved")
    held = {name: np.asarray(store[name]) for name in store.keys()}  # noqa: SIM118 - not a dictionary
    _check(storage, held)
    state = held["state"].astype(np.int64)
    state[STAMP] = new_stamp()
    if storage.key_dtype == tf.string:
        ends = np.cumsum(held["keys_lengths"])
        whole = held["keys_bytes"].tobytes()
        keys = [whole[end - length : end] for end, length in zip(ends, held["keys_lengths"], strict=True)]
        held["keys"] = np.asarray(keys, object) if keys else np.zeros(0, object)
    capacity = max(len(held["rows"]), storage.initial_capacity)
    for name in ENTRY_FIELDS:
        blank: Any = b"" if name == "keys" and storage.key_dtype == tf.string else 0
        padded = np.concatenate([held[name], np.full(capacity - len(held[name]), blank, held[name].dtype)])
        assign(getattr(storage, name), tf.constant(padded, storage.fields[name].dtype))
    if storage.bloom is not None:
        assign(storage.bloom, tf.constant(held["bloom"]))
    assign(storage.tables[0], tf.constant(held["table"]))
    assign(storage.state, tf.constant(state))
    storage.fit_slots()
