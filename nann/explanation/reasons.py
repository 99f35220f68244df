"""Why an item is recommended for a history, or why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.errors import NannError
from nann.explanation.known_items import KnownItems
from nann.explanation.score_parts import ScoreParts, parts_of
from nann.export import rows_of_text
from nann.retrieval import ExactRetriever
from nann.serving.opened import OpenedModel
from nann.serving.places import ModelPlace


@dataclass(frozen=True)
class HistoryItem:
    """The item of a history whose vector is nearest to the explained item's.

    Attributes:
        row: item row.
        distance: squared Euclidean distance of the two vectors, as in the index.
    """

    row: int
    distance: float


@dataclass(frozen=True)
class Explanation:
    """Why an item has its score and its place.

    Attributes:
        row: of the item.
        score: of the exact scan.
        parts: of that score.
        rest: of the score that no part explains; 0 up to rounding.
        exact_rank: place in the exact scan of all items, from 1.
        num_items: items in the corpus.
        walk_rank: place among the items that the walk scored, from 1; None: the walk did not meet it.
        items_scored: by the walk.
        top_k: items in an answer; the walk found the item where its rank is at most this.
        nearest: item of the history; None where none of it has a vector.
    """

    row: int
    score: float
    parts: ScoreParts
    rest: float
    exact_rank: int
    num_items: int
    walk_rank: int | None
    items_scored: int
    top_k: int
    nearest: HistoryItem | None

    @property
    def found(self) -> bool:
        """Whether the item is in the answer of the exported graph."""
        return self.walk_rank is not None and self.walk_rank <= self.top_k


def explain(
    items: KnownItems,
    item_id: Any,
    history_ids: Sequence[Any],
    *,
    values: Mapping[str, Sequence[str]] | None = None,
    allow_own_models: bool = False,
) -> Explanation:
    """Explains the score and the place of one item for one history.

    Args:
        items: of a converted model.
        item_id: catalogue id of the item.
        history_ids: catalogue ids, oldest first.
        values: what else the model reads, see `nann.export.rows_of_text`.
        allow_own_models: see `nann.export.open_graph`.

    Raises:
        NannError: an id is not in the catalogue, the item is not in the corpus, or values do not fit.
        ArtifactError: the model is damaged.
    """
    history, row = items.rows_of(history_ids), int(items.rows_of([item_id])[0])
    position = items.position_of(row)
    if position is None:
        raise NannError(
            f"item {item_id} is in the catalogue, but not in the index, so that it is never retrieved; run `nann extract` again"
        )
    inputs = rows_of_text(items.model.inputs, values or {}, len(history))
    request = {"item_ids": history[np.newaxis], "cate_ids": items.category_rows[history][np.newaxis], **inputs}
    embeddings, _ = items.model.corpus
    scan = ExactRetriever(items.model.scorer, embeddings, top_k=len(embeddings), memory=items.model.memory)
    scanned = scan(request["item_ids"], request["cate_ids"], **inputs)
    exact = int(np.flatnonzero(scanned.item_rows[0] == row)[0])
    parts = parts_of(_logit(items, request, position, inputs), position, history, items.category_rows, items.model.memory)
    walked, scored, top_k = _walk(items, request, allow_own_models)
    places = np.flatnonzero(walked == row)
    score = float(scanned.scores[0, exact])
    return Explanation(
        row=row,
        score=score,
        parts=parts,
        rest=score - parts.total,
        exact_rank=exact + 1,
        num_items=len(embeddings),
        walk_rank=int(places[0]) + 1 if len(places) else None,
        items_scored=scored,
        top_k=top_k,
        nearest=_nearest(items, position, history),
    )


def _logit(items: KnownItems, request: Mapping[str, NDArray[Any]], position: int, inputs: Mapping[str, NDArray[Any]]) -> float:
    scorer, vectors = items.model.scorer, items.model.corpus[0].vectors
    given = {name: tf.constant(value, tf.int64) for name, value in inputs.items()}
    state = scorer.user_state(tf.constant(request["item_ids"]), tf.constant(request["cate_ids"]), **given)
    return float(np.asarray(scorer.score(state, tf.constant(vectors[np.newaxis, position : position + 1])))[0, 0])


def _walk(items: KnownItems, request: Mapping[str, NDArray[Any]], allow_own_models: bool) -> tuple[NDArray[np.int64], int, int]:
    """Rows of all items that the exported walk scores, best first; how many they are; and the length of an answer."""
    params = items.artifact.params
    opened = OpenedModel(ModelPlace(items.model.path), allow_own_models=allow_own_models)
    search = {
        "ef": np.array(params["ef"], np.int64),
        "rounds": np.array(params["rounds"], np.int64),
        "top_k": np.array(len(items.model.corpus[0]), np.int64),
        "start_level": np.array(params["start_level"], np.int64),
    }
    outputs = opened.retrieval.run("search", **request, **search)
    found = outputs["top_k_item_ids"][0]
    return found[found > 0], int(outputs["items_scored"][0]), int(params["top_k"])


def _nearest(items: KnownItems, position: int, history: NDArray[np.int64]) -> HistoryItem | None:
    vectors = items.model.corpus[0].vectors
    places = [(int(row), place) for row in dict.fromkeys(history.tolist()) if (place := items.position_of(int(row))) is not None]
    distances = [HistoryItem(row, float(np.square(vectors[place] - vectors[position]).sum())) for row, place in places]
    return min(distances, key=lambda found: found.distance, default=None)
