"""The exact answer: every item scored for every user, in blocks, with a running top-k."""

from __future__ import annotations

import tensorflow as tf

from nann.retrieval.beam import Found, Score, UserState
from nann.retrieval.memory import Adjustment, as_they_are
from nann.retrieval.walk import NEGATIVE_INFINITY
from ops.scoring import UserMemory


def exact_search(
    score: Score, user_state: UserState, item_embs: tf.Tensor, *, top_k: int, block: int = 4096, memory: UserMemory | None = None
) -> Found:
    """Scans the whole corpus. Call it inside a `tf.function`.

    Memory is that of scoring B x block items, whatever N is. Of equal scores the lower position is ahead.

    Args:
        score: logits [B, n] of a user state and items [1, n, D].
        user_state: tensors with leading axis B.
        item_embs: [N, D] float32, N >= 1.
        top_k: K, items returned per user.
        block: items scored at a time.
        memory: of these users, joined with every score; memory of B x N numbers where it is given.
    """
    item_embs = tf.convert_to_tensor(item_embs)
    batch = tf.shape(user_state[0])[0]
    count = tf.shape(item_embs)[0]
    first = tf.constant(0)
    scores = tf.fill([batch, top_k], NEGATIVE_INFINITY)
    positions = tf.fill([batch, top_k], tf.constant(-1, tf.int64))

    adjust = as_they_are if memory is None else Adjustment(memory)

    def scan(first: tf.Tensor, scores: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        last = tf.minimum(first + block, count)
        places = tf.range(tf.cast(first, tf.int64), tf.cast(last, tf.int64))
        numbers = tf.tile(places[tf.newaxis], tf.stack([batch, 1]))
        merged = tf.concat([scores, adjust(score(user_state, item_embs[tf.newaxis, first:last]), places)], axis=1)
        scores, origin = tf.math.top_k(merged, top_k)
        return last, scores, tf.gather(tf.concat([positions, numbers], axis=1), origin, batch_dims=1)

    _, scores, positions = tf.while_loop(
        lambda first, *_: first < count, scan, (first, scores, positions), parallel_iterations=1, maximum_iterations=None
    )
    scores.set_shape([None, top_k])
    positions.set_shape([None, top_k])
    return Found(positions=positions, scores=scores, items_scored=tf.fill([batch], tf.cast(count, tf.int64)))
