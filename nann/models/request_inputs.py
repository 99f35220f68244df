"""Inputs that come with every request - kinds and times of the history's events, features of the user - as scorers read them.

The one place that embeds them: a few numbers per event, which stand beside its item in the sequence, and a vector of the user.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from nann.dataset.inputs import RequestInput
from nann.models.layers import Seeds
from ops.lookup import lookup_bags, lookup_positions

EVENT_DIM = 8  # kinds of events and spans of time are few, whatever the size of the items' embedding
# Spans of time in half octaves: 0 s, 1 s, 2 s, 3 s, 4 s, 6 s, 8 s, ..., more than 34 years.
SPANS = tuple(sorted({math.isqrt(2**half_octave - 1) + 1 for half_octave in range(61)}))


def span_rows(seconds: tf.Tensor) -> tf.Tensor:
    """Rows 1..len(SPANS) + 1 of spans of time [...] int64; negative ones count as 0."""
    flat = tf.reshape(tf.maximum(seconds, 0), [-1])
    rows = 1 + tf.searchsorted(tf.constant(SPANS, tf.int64), flat, side="right", out_type=tf.int64)
    return tf.reshape(rows, tf.shape(seconds))


class RequestEmbedding(tf.Module):
    """Embeddings of a request's inputs.

    Of an event's time come the seconds from it to the newest event of the history and to the one after it, each as a row per half octave:
    the end of the history is the one moment that training and serving have in common. A causal scorer must not look ahead: of an event's
    time come the seconds since the one before.

    Args:
        inputs: by name.
        dim: of the embedding of a user's feature.
        seeds: of the initial values.
        causal: whether an event's part may only depend on it and those before.

    Attributes:
        inputs: as given.
        event_dim: size of an event's part, 0 without inputs of side "history".
        user_dim: size of the user's part, 0 without inputs of side "user".
        tables: all variables.
    """

    def __init__(self, inputs: Mapping[str, RequestInput], dim: int, seeds: Seeds, *, causal: bool = False) -> None:
        super().__init__(name="request_inputs")
        self.inputs, self._causal = dict(inputs), causal
        self._event_tables: list[tf.Variable] = []
        self._user_tables: list[tf.Variable] = []

        def table(rows: int, size: int, name: str) -> tf.Variable:
            initial = tf.random.stateless_normal([rows + 1, size], seeds.next(), stddev=size**-0.5)
            return tf.Variable(initial, name=f"input_{name}_table")

        for name, entry in inputs.items():
            if entry.side == "user":
                self._user_tables.append(table(entry.num_values or 0, dim, name))
            elif entry.num_values is None:
                spans = ("since_last",) if causal else ("to_newest", "to_next")
                self._event_tables += [table(len(SPANS) + 1, EVENT_DIM, f"{name}_{span}") for span in spans]
            else:
                self._event_tables.append(table(entry.num_values, EVENT_DIM, name))
        self.tables = (*self._event_tables, *self._user_tables)
        self.event_dim, self.user_dim = EVENT_DIM * len(self._event_tables), dim * len(self._user_tables)

    def events(self, item_rows: tf.Tensor, values: Mapping[str, tf.Tensor], segments: tf.Tensor | None = None) -> tf.Tensor:
        """[B, L, event_dim] of the events of histories [B, L] padded at the end; zeros where no item stands, or nothing is known.

        With ``segments`` [B, L] int32 a row holds the events of several users, those of equal numbers of one.
        """
        present = tf.not_equal(item_rows if segments is None else segments, 0)  # training leaves out items of events that are there
        rows: list[tf.Tensor] = []
        for name, entry in self.inputs.items():
            if entry.side != "history":
                continue
            given = tf.where(present, tf.cast(values[name], tf.int64), 0)
            if entry.num_values is None:
                rows += self._spans(given, segments)
            else:
                rows.append(_known(given, entry.num_values))
        return lookup_positions(self._event_tables, rows)

    def _spans(self, given: tf.Tensor, segments: tf.Tensor | None) -> list[tf.Tensor]:
        """Rows [B, L] of spans of time between events at times [B, L], 0 where one of the two is not known."""
        known, none = given > 0, tf.zeros_like(given[:, :1])
        if self._causal:
            before = tf.concat([none, given[:, :-1]], axis=1)
            if segments is not None:
                same = tf.equal(segments, tf.concat([tf.zeros_like(segments[:, :1]), segments[:, :-1]], axis=1))
                before = tf.where(same, before, 0)
            return [tf.where(tf.logical_and(known, before > 0), span_rows(given - before), 0)]
        following = tf.concat([given[:, 1:], none], axis=1)
        newest = tf.reduce_max(given, axis=1, keepdims=True)
        to_next = tf.where(tf.logical_and(known, following > 0), span_rows(following - given), 0)
        return [tf.where(known, span_rows(newest - given), 0), to_next]

    def user(self, values: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """[..., user_dim] of values [..., V]: per feature the mean of its values' rows, zeros without any."""
        of_user = [(name, entry) for name, entry in self.inputs.items() if entry.side == "user"]
        means = []
        for (name, entry), table in zip(of_user, self._user_tables, strict=True):
            given = _known(tf.cast(values[name], tf.int64), entry.num_values or 0)
            shape = tf.shape(given)
            flat = tf.reshape(given, [-1, shape[-1]])
            mean = lookup_bags(table, tf.ragged.boolean_mask(flat, flat > 0))
            means.append(tf.reshape(mean, tf.concat([shape[:-1], [table.shape[1]]], axis=0)))
        return tf.concat(means, axis=-1)

    def describe(self) -> dict[str, dict[str, Any]]:
        """Arguments of each `RequestInput`."""
        return {name: {"side": entry.side, "num_values": entry.num_values} for name, entry in self.inputs.items()}


def _known(rows: tf.Tensor, num_values: int) -> tf.Tensor:
    """Rows with 0 where they are none of 1..num_values."""
    return tf.where(tf.logical_and(rows > 0, rows <= num_values), rows, 0)
