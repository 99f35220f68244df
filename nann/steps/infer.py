"""Step `infer`: one history in, the best items out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nann.artifacts import open_artifact
from nann.config import InferConfig
from nann.export import ExportedRetrieval, open_graph, open_linked, served_inputs
from nann.serving.retriever import Retriever


def infer(
    *,
    converted_model: Path | None = None,
    graph_file: Path | None = None,
    meta_path: Path | None = None,
    item_ids: Sequence[str | int],
    config: InferConfig,
    values: Mapping[str, Sequence[str]] | None = None,
    exclude: Sequence[str | int] = (),
    exclude_history: bool = False,
    categories: Sequence[str | int] = (),
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
        exclude: catalogue ids that are not returned; those that are not in the catalogue exclude nothing.
        exclude_history: do not return items of the history.
        categories: catalogue ids of categories of which one has to be the item's; none: all items.

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
    retriever = Retriever(retrieval, served_inputs(directory))
    found = retriever.recommend(
        item_ids,
        config.top_k,
        values=values,
        unknown=config.unknown,
        exclude=exclude,
        exclude_history=exclude_history,
        categories=categories,
    )
    return list(zip(found.ids, found.scores, strict=True))
