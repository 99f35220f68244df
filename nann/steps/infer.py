"""Step `infer`: one history in, the best items out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.artifacts import open_artifact
from nann.config import InferConfig
from nann.errors import ArtifactError, NannError
from nann.export import ExportedRetrieval, open_graph, open_linked, rows_of_text, served_inputs

logger = logging.getLogger(__name__)
MOST_NAMED = 5  # unknown ids in a message


def infer(
    *,
    converted_model: Path | None = None,
    graph_file: Path | None = None,
    meta_path: Path | None = None,
    item_ids: Sequence[str | int],
    config: InferConfig,
    values: Mapping[str, Sequence[str]] | None = None,
) -> list[tuple[str | int, float]]:
    """Retrieves for one history, from a converted model's SavedModel, or from ``0.meta`` linked with ``frozen_graph.pb``.

    Args:
        converted_model: artifact of `rewrite`; or else
        meta_path: its ``0.meta``, the checkpoint beside it, and
        graph_file: its ``frozen_graph.pb``, from which the networks are taken; without it those in ``0.meta`` are used.
        item_ids: the history's catalogue ids, oldest first; ``config.unknown`` says what becomes of ids that the catalogue does not know.
        config: the options.
        values: by name of the model's inputs: kinds or unix seconds of the history's events, one per item; values of the user. What is not
            given is unknown to the model.

    Returns:
        Catalogue ids and scores, best first; fewer than asked for where the walk found fewer.

    Raises:
        ValueError: not exactly one of ``converted_model`` and ``meta_path`` is given.
        NannError: no id is known, or one is not where ``config.unknown`` is "fail"; ids are no integers where the catalogue's are; or
            values are not as `rows_of_text` wants them.
        ArtifactError: a file is unusable, or returns fewer items than asked for.
    """
    if (converted_model is None) == (meta_path is None) or (graph_file is not None and meta_path is None):
        raise ValueError("give either --converted-model, or --meta-path with --graph-file")
    retrieval: ExportedRetrieval
    if converted_model is not None:
        open_artifact(converted_model, step="rewrite")
        retrieval = open_graph(Path(converted_model), config.graph, allow_own_models=config.allow_own_models)
    elif meta_path is not None:
        retrieval = open_linked(Path(meta_path), graph_file, allow_own_models=config.allow_own_models)
    directory = Path(converted_model) if converted_model is not None else Path(str(meta_path)).parent
    inputs = rows_of_text(served_inputs(directory), values or {}, len(item_ids))
    history = _parse(item_ids, retrieval.id_type)
    known = retrieval.run("catalogue_rows", item_ids=history)["item_rows"][0] > 0
    unknown = [item_id for item_id, is_known in zip(item_ids, known, strict=True) if not is_known]
    if len(unknown) == len(item_ids):
        raise NannError(
            f"none of the {len(item_ids)} item ids is in the catalogue (first: {item_ids[0] if item_ids else 'no id given'!r}); "
            "give ids of the log that the model was trained on"
        )
    if unknown:
        named = ", ".join(map(str, unknown[:MOST_NAMED])) + (", ..." if len(unknown) > MOST_NAMED else "")
        told = f"{len(unknown)} of {len(item_ids)} item ids are not in the catalogue ({named})"
        if config.unknown == "fail":
            raise NannError(f"{told}; give ids of the log that the model was trained on, or --unknown drop to leave those out")
        logger.warning("%s and are left out", told)
    outputs = retrieval.run("by_catalogue_id", item_ids=history, **inputs)
    scores = outputs["top_k_scores"][0]
    if config.top_k > len(scores):
        raise ArtifactError(
            f"{config.top_k} items are asked for, but the exported graph returns {len(scores)}; run `nann rewrite --top-k {config.top_k}`"
        )
    found = int(np.isfinite(scores).sum())
    ids = [item_id.decode() if isinstance(item_id, bytes) else int(item_id) for item_id in outputs["top_k_item_ids"][0].tolist()]
    return list(zip(ids, scores.tolist(), strict=True))[: min(config.top_k, found)]


def _parse(item_ids: Sequence[str | int], id_type: tf.DType) -> npt.NDArray:
    """The history as [1, L] of the catalogue's type."""
    if id_type == tf.string:
        return np.array([[str(item_id).encode() for item_id in item_ids]], dtype=object)
    try:
        return np.array([[int(item_id) for item_id in item_ids]], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise NannError(f"the catalogue's ids are 64-bit integers, but an item id is not ({error})") from error
