"""The items of a converted model by catalogue id, row and position."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.artifacts import Artifact, open_artifact
from nann.errors import NannError
from nann.export import ConvertedModel, load_table
from nann.serving.retriever import ids_of_type, plain


class KnownItems:
    """The items of a converted model.

    Args:
        converted_model: artifact of `rewrite`.
        allow_own_models: see `nann.export.open_graph`.

    Attributes:
        artifact: the artifact, compared with its manifest.
        model: its parts.

    Raises:
        ArtifactError: it is damaged.
    """

    def __init__(self, converted_model: Path, *, allow_own_models: bool = False) -> None:
        self.artifact: Artifact = open_artifact(converted_model, step="rewrite")
        self.model = ConvertedModel(converted_model, allow_own_models=allow_own_models)

    @cached_property
    def ids(self) -> NDArray[Any]:
        """[N + 1] catalogue id by item row, int64 or bytes; row 0 is none."""
        return load_table(self.model.path / "0", "catalogue_item_ids_by_row")

    @cached_property
    def category_rows(self) -> NDArray[np.int64]:
        """[N + 1] category row by item row."""
        return load_table(self.model.path / "0", "item_categories").astype(np.int64)

    def rows_of(self, item_ids: Sequence[Any]) -> NDArray[np.int64]:
        """Item rows [L] of catalogue ids.

        Raises:
            NannError: an id is not in the catalogue.
        """
        wanted = ids_of_type(item_ids, tf.string if self.ids.dtype == object else tf.int64)
        found = [np.flatnonzero(self.ids[1:] == item_id) for item_id in wanted]
        missing = [str(item_id) for item_id, rows in zip(item_ids, found, strict=True) if not len(rows)]
        if missing:
            raise NannError(
                f"{len(missing)} of {len(item_ids)} item ids are not in the catalogue ({', '.join(missing[:5])}); "
                "give ids of the log that the model was trained on"
            )
        return np.array([rows[0] + 1 for rows in found], np.int64)

    def id_of(self, row: int) -> int | str:
        """The catalogue id of an item row."""
        return plain(self.ids[row])

    def position_of(self, row: int) -> int | None:
        """The position of an item row in the corpus; None for one that cannot be retrieved."""
        rows = self.model.corpus[0].item_rows
        place = int(np.searchsorted(rows, row))
        return place if place < len(rows) and rows[place] == row else None
