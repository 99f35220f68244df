"""Walk and scan with the scorer as a program: one native op each, which takes a few items through all layers at a time.

Logits differ from those of the scorer's own ops in the last bits, so two items closer than that may change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from nann.retrieval.beam import Found, SearchInputs, UserState, start
from nann.retrieval.tables import SearchTables
from ops import scoring
from ops.scoring import ItemFilter, UserMemory


def fused_search(
    program: str,
    parameters: Sequence[tf.Tensor],
    user_state: UserState,
    tables: SearchTables,
    search: SearchInputs,
    *,
    memory: UserMemory | None = None,
    memory_entries: tf.Tensor | int = 0,
) -> tuple[Found, tf.Tensor]:
    """`nann.retrieval.beam_search` in one native op.

    Args:
        program: of the scorer, see `ops.scoring_program`.
        parameters: of the program, for these users.
        user_state: tensors with leading axis B.
        tables: of the corpus, item vectors in float32.
        search: the parameters; levels the tables do not have are not walked.
        memory: of these users, beside the scorer; see `ops.scoring.UserMemory`.
        memory_entries: [] int64, so many of each user's first entries of the memory are scored after the entry points.

    Returns:
        The best `search.top_k` items scored, and [2] int64, microseconds spent walking and scoring.
    """
    positions, scores, items_scored, microseconds = scoring.beam_search(
        program=program,
        parameters=parameters,
        batch=tf.shape(user_state[0], tf.int64)[0],
        memory=memory,
        memory_entries=memory_entries,
        **_inputs(tables, search),
    )
    return Found(positions=positions, scores=scores, items_scored=items_scored), microseconds


def _inputs(tables: SearchTables, search: SearchInputs) -> dict[str, Any]:
    """What the native ops take of the tables and the search, by name."""
    search = search.within(tables.item_embs.values.shape[0])
    entries, walked = start(tables, search.start_level)
    levels = min(len(tables.neighbor_values), search.ef.shape[0])
    return {
        "top_k": search.top_k,
        "ef": search.ef,
        "rounds": tf.concat([tf.where(walked[:levels], search.rounds[:levels], 0), search.rounds[levels:]], axis=0),
        "enter_points": entries,
        "item_embs": tables.item_embs.read().values,
        "neighbor_values": [tf.convert_to_tensor(values) for values in tables.neighbor_values[:levels]],
        "neighbor_row_splits": [tf.convert_to_tensor(splits) for splits in tables.neighbor_row_splits[:levels]],
    }


def fused_filtered_search(
    program: str,
    parameters: Sequence[tf.Tensor],
    user_state: UserState,
    tables: SearchTables,
    search: SearchInputs,
    item_filter: ItemFilter,
    *,
    memory: UserMemory | None = None,
    memory_entries: tf.Tensor | int = 0,
) -> Found:
    """`nann.retrieval.filtered.filtered_search` in one native op.

    Args:
        program: of the scorer, see `ops.scoring_program`.
        parameters: of the program, for these users.
        user_state: tensors with leading axis B.
        tables: of the corpus, item vectors in float32.
        search: the parameters.
        item_filter: which items pass.
        memory: of these users, beside the scorer.
        memory_entries: [] int64, see `fused_search`.
    """
    positions, scores, items_scored, _ = scoring.filtered_search(
        program=program,
        parameters=parameters,
        batch=tf.shape(user_state[0], tf.int64)[0],
        item_filter=item_filter,
        memory=memory,
        memory_entries=memory_entries,
        **_inputs(tables, search),
    )
    return Found(positions=positions, scores=scores, items_scored=items_scored)


def fused_scan(
    program: str,
    parameters: Sequence[tf.Tensor],
    user_state: UserState,
    item_embs: tf.Tensor,
    *,
    top_k: int,
    memory: UserMemory | None = None,
) -> Found:
    """`nann.retrieval.exact_search` in one native op.

    Args:
        program: of the scorer, see `ops.scoring_program`.
        parameters: of the program, for these users.
        user_state: tensors with leading axis B.
        item_embs: [N, D] float32, N >= 1.
        top_k: K, items returned per user.
        memory: of these users, beside the scorer; see `ops.scoring.UserMemory`.
    """
    item_embs = tf.convert_to_tensor(item_embs)
    batch, count = tf.shape(user_state[0], tf.int64)[0], tf.shape(item_embs, tf.int64)[0]
    positions, scores = scoring.scan_items(
        program=program, parameters=parameters, batch=batch, top_k=tf.constant(top_k, tf.int64), item_embs=item_embs, memory=memory
    )
    positions.set_shape([None, top_k])
    scores.set_shape([None, top_k])
    return Found(positions=positions, scores=scores, items_scored=tf.fill([batch], count))
