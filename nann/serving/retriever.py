"""A model to ask from Python: catalogue ids in, catalogue ids and scores out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.errors import ArtifactError, NannError
from nann.export import ExportedRetrieval, rows_of_text, unknown_inputs
from nann.item_tables import ItemTables, read_item_tables
from nann.serving.opened import FILTERED, OpenedModel
from nann.serving.places import find_model

Unknown = Literal["fail", "drop"]
MOST_NAMED = 5  # unknown ids in a message
logger = logging.getLogger(__name__)


class Recommended(NamedTuple):
    """Items for one user, best first; fewer than asked for where the search found fewer.

    Attributes:
        ids: catalogue ids (int or str); item rows where rows were asked with.
        scores: one float per id.
    """

    ids: list[Any]
    scores: list[float]


class Retriever:
    """An exported model. Calls may come from several threads.

    Args:
        retrieval: its graph.
        inputs: what its requests hold beside items, see `nann.export.served_inputs`.
        opened: the form it was loaded from, where there is one; only then `recommend_many` and `recommend_rows` work.
    """

    def __init__(self, retrieval: ExportedRetrieval, inputs: Mapping[str, dict[str, Any]], opened: OpenedModel | None = None) -> None:
        self._retrieval, self._inputs, self._opened = retrieval, inputs, opened

    @classmethod
    def load(cls, path: str | Path, *, form: str | None = None, allow_own_models: bool = False) -> Retriever:
        """Loads the model of a directory.

        Args:
            path: of a run, a service (the version in service), a converted model, or a SavedModel.
            form: "fused", "native" or "portable"; None: the first of these that is there and loads.
            allow_own_models: whatever ops it holds; otherwise those of `nann.export.allowed_ops` alone.

        Raises:
            ArtifactError: it is none of these, it is damaged, or no form of it loads.
        """
        opened = OpenedModel(find_model(path), form, allow_own_models=allow_own_models)
        logger.info("%s: form %s, version %d", opened.place.path, opened.form, opened.place.version)
        return cls(opened.retrieval, opened.inputs, opened)

    def __repr__(self) -> str:
        return f"Retriever({str(self._model.place.path)!r}, form={self.form!r}, version={self.version})" if self._opened else "Retriever()"

    @property
    def _model(self) -> OpenedModel:
        if self._opened is None:
            raise ValueError("this retriever has a graph alone; make it with Retriever.load")
        return self._opened

    @property
    def form(self) -> str:
        """The exported form that was loaded."""
        return self._model.form

    @property
    def version(self) -> int:
        """Number of the version in service; 1 elsewhere."""
        return self._model.place.version

    def recommend(
        self,
        history: Sequence[Any],
        k: int = 10,
        *,
        values: Mapping[str, Sequence[str]] | None = None,
        unknown: Unknown = "fail",
        exclude: Sequence[Any] = (),
        exclude_history: bool = False,
        categories: Sequence[Any] = (),
    ) -> Recommended:
        """The best items for one history.

        Args:
            history: catalogue ids, oldest first.
            k: items wanted, at most as many as were exported (`nann rewrite --top-k`).
            values: by name of the model's inputs: kinds or unix seconds of the history's events, one per item; values of the user. What
                is not given is unknown to the model.
            unknown: what becomes of ids that are not in the catalogue: refused, or left out with a warning.
            exclude: catalogue ids that are not returned; ids that are not in the catalogue exclude nothing.
            exclude_history: do not return items of the history.
            categories: catalogue ids of categories of which one has to be the item's; none: all items. An unknown one has no items; 0, or
                text of no length, stands for no category and filters nothing.

        Raises:
            TypeError: ``exclude`` or ``categories`` is a text, not a list, or ``exclude_history`` is not True or False.
            NannError: no id is known, or one is not where ``unknown`` is "fail"; ids are no integers where the catalogue's are; or values
                are not as `rows_of_text` wants them.
            ArtifactError: more items are asked for than were exported.
        """
        _require_filters(exclude, exclude_history, categories)
        inputs = rows_of_text(self._inputs, values or {}, len(history))
        ids = ids_of_type(history, self._retrieval.id_type)[np.newaxis]
        known = self._retrieval.run("catalogue_rows", item_ids=ids)["item_rows"][0] > 0
        _require_known(history, known, unknown)
        if not (len(exclude) or exclude_history or len(categories) or self._has_tables()):
            return self._answers("by_catalogue_id", "item_ids", k, item_ids=ids, **inputs)[0]
        left_out = self._left_out("filtered_by_catalogue_id", [exclude], [exclude_history], [categories])
        return self._answers("filtered_by_catalogue_id", "item_ids", k, item_ids=ids, **inputs, **left_out)[0]

    def set_item_tables(self, tables: ItemTables | str | Path) -> int:
        """Replaces which items may be returned, and what is added to their scores, from now on, for all answers of this retriever.

        Args:
            tables: the tables, or a file of them, see `nann.item_tables`.

        Returns:
            How many items of the catalogue are named in it.

        Raises:
            ArtifactError: the file is none, names no item of the catalogue, or the model was exported without filters.
        """
        return self._model.set_item_tables(tables if isinstance(tables, ItemTables) else read_item_tables(Path(tables)))

    def _has_tables(self) -> bool:
        return self._opened is not None and self._opened.has_item_tables

    def _left_out(
        self, signature: str, exclude: Sequence[Sequence[Any]], exclude_history: Sequence[bool], categories: Sequence[Sequence[Any]]
    ) -> dict[str, np.ndarray]:
        """The inputs of a filtered signature, for one user or, without any ids, for several.

        Raises:
            ArtifactError: the graph has no such signature.
        """
        types = self._retrieval.input_types(signature)
        if not types:
            raise ArtifactError("the model was exported without filters, by an earlier version; run `nann rewrite` again")
        given = {"exclude_item_ids": exclude, "category_ids": categories}
        rows = {name: np.stack([ids_of_type(user, types[name]) for user in users]) for name, users in given.items()}
        return {**rows, "exclude_history": np.array(exclude_history, bool)}

    def recommend_many(self, histories: Sequence[Sequence[Any]], k: int = 10) -> list[Recommended]:
        """The best items for several histories in one call; ids that are not in the catalogue are left out. See `recommend`."""
        if not len(histories):
            return []
        given = [ids_of_type(history, self._retrieval.id_type) for history in histories]
        ids = padded(given, self._model.no_item, self._retrieval.id_type)
        return self._plain_answers("by_catalogue_id", k, item_ids=ids, **unknown_inputs(self._inputs, ids.shape))

    def recommend_rows(self, rows: Sequence[int], k: int = 10) -> Recommended:
        """The best items for one history of item rows, oldest first; what is no row is left out. Returns rows."""
        ids = ids_of_type(rows, tf.int64)[np.newaxis]
        known = self._model.category_rows
        categories = known[np.where((ids > 0) & (ids < len(known)), ids, 0)]
        return self._plain_answers("serving_default", k, item_ids=ids, cate_ids=categories, **unknown_inputs(self._inputs, ids.shape))[0]

    def _plain_answers(self, signature: str, k: int, **inputs: np.ndarray) -> list[Recommended]:
        """Answers without a filter of the users' own."""
        if self._has_tables():
            signature, users = FILTERED[signature], len(inputs["item_ids"])
            inputs |= self._left_out(signature, [()] * users, [False] * users, [()] * users)
        return self._answers(signature, "item_ids", k, **inputs)

    def _answers(self, signature: str, name: str, k: int, **inputs: np.ndarray) -> list[Recommended]:
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least 1 item")
        outputs = self._retrieval.run(signature, **inputs)
        ids, scores = outputs[f"top_k_{name}"], outputs["top_k_scores"]
        if k > scores.shape[1]:
            raise ArtifactError(
                f"{k} items are asked for, but the exported graph returns {scores.shape[1]}; run `nann rewrite --top-k {k}`"
            )
        found = np.minimum(np.isfinite(scores).sum(axis=1), k)
        return [
            Recommended([plain(item) for item in ids[user, :count].tolist()], scores[user, :count].tolist())
            for user, count in enumerate(found.tolist())
        ]


def _require_filters(exclude: object, exclude_history: object, categories: object) -> None:
    for name, given in (("exclude", exclude), ("categories", categories)):
        if isinstance(given, (str, bytes)):
            raise TypeError(f"{name} is the text {given!r}; give a list of ids")
    if not isinstance(exclude_history, (bool, np.bool_)):
        raise TypeError(f"exclude_history is {exclude_history!r}; give True or False")


def plain(item_id: Any) -> int | str:
    """An id of a graph's answer as int or str."""
    return item_id.decode() if isinstance(item_id, bytes) else int(item_id)


def ids_of_type(item_ids: Sequence[Any], id_type: tf.DType) -> NDArray[Any]:
    """Ids [L] as the catalogue has them: int64, or UTF-8 as objects.

    Raises:
        NannError: the catalogue's are integers, and one of these is none, or none of 64 bits.
    """
    if id_type == tf.string:
        return np.array([str(item_id).encode() for item_id in item_ids], dtype=object)
    try:
        for item_id in item_ids:
            if isinstance(item_id, (float, np.floating)):
                raise ValueError(f"{item_id!r} is a floating point number")
        return np.array([int(item_id) for item_id in item_ids], dtype=np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise NannError(f"the catalogue's ids are 64-bit integers, but an item id is not ({error})") from error


def padded(rows: Sequence[NDArray[Any]], value: Any, dtype: tf.DType) -> NDArray[Any]:
    """Rows of any lengths as one matrix [B, L], filled up with a value at the end."""
    matrix = np.full((len(rows), max(1, *map(len, rows))), value, dtype=object if dtype == tf.string else np.int64)
    for place, row in enumerate(rows):
        matrix[place, : len(row)] = row
    return matrix


def _require_known(history: Sequence[Any], known: NDArray[np.bool_], unknown: Unknown) -> None:
    missing = [item_id for item_id, is_known in zip(history, known, strict=True) if not is_known]
    if len(missing) == len(history):
        raise NannError(
            f"none of the {len(history)} item ids is in the catalogue (first: {history[0] if len(history) else 'no id given'!r}); "
            "give ids of the log that the model was trained on"
        )
    if missing:
        named = ", ".join(map(str, missing[:MOST_NAMED])) + (", ..." if len(missing) > MOST_NAMED else "")
        told = f"{len(missing)} of {len(history)} item ids are not in the catalogue ({named})"
        if unknown == "fail":
            raise NannError(f"{told}; give ids of the log that the model was trained on, or leave those out (--unknown drop)")
        logger.warning("%s and are left out", told)
