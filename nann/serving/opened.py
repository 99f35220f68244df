"""A model opened for serving: the best of its forms that loads on this machine, its signatures, and what its requests hold."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.artifacts import open_artifact
from nann.contents import opening
from nann.errors import ArtifactError
from nann.export import SavedRetrieval, load_table, served_inputs, unknown_inputs
from nann.export.filter_graph import SET_TABLES
from nann.export.load import read_saved_meta
from nann.export.retrieval_graph import SAVED_MODELS
from nann.item_tables import ItemTables, read_item_tables
from nann.serving.places import ModelPlace
from ops import retrieval as native_ops

# The filtered form of each signature that answers with items.
FILTERED = {
    "serving_default": "filtered",
    "debug": "filtered",
    "by_catalogue_id": "filtered_by_catalogue_id",
    "filtered": "filtered",
    "filtered_by_catalogue_id": "filtered_by_catalogue_id",
}
FORMS = ("fused", "native", "portable")  # the fastest first
logger = logging.getLogger(__name__)


class OpenedModel:
    """One exported form, loaded. Calls may come from several threads.

    Args:
        place: where it lies; the files of a converted model are compared with its manifest.
        form: "fused", "native" or "portable"; None: the first of these that is there and loads.
        allow_own_models: whatever ops it holds; otherwise those of `nann.export.allowed_ops` alone.

    Attributes:
        place: as given.
        form: which one was loaded.
        directory: of its SavedModel.
        retrieval: runs its signatures.
        inputs: what requests hold beside items, by name, see `nann.export.served_inputs`; empty where no file says so.
        has_item_tables: whether tables of items were set; what is returned is then always filtered by them.

    Raises:
        ArtifactError: it is damaged, or no form of it loads.
    """

    def __init__(self, place: ModelPlace, form: str | None = None, *, allow_own_models: bool = False) -> None:
        self.place, self.has_item_tables = place, False
        if place.alone:
            self.directory, self.form = place.path, form_of(place.path)
            if form not in (None, self.form):
                raise ArtifactError(f"{place.path} is {self.form}, not {form}; leave the form out, or give another directory")
            self.retrieval = self._open(allow_own_models)
            self.inputs = self._inputs_of_one()
        else:
            open_artifact(place.path, step="rewrite")
            self._open_best([form] if form else FORMS, allow_own_models)
            self.inputs = served_inputs(place.path)
        if place.item_tables is not None:
            self.set_item_tables(read_item_tables(place.item_tables))

    def follow(self, place: ModelPlace) -> bool:
        """Takes other tables of items of the same model; False where a place is of another one, or has no tables any more.

        Raises:
            ArtifactError: the tables cannot be used; those that count now stay.
        """
        if place.item_tables is None or replace(place, item_tables=self.place.item_tables) != self.place:
            return False
        self.set_item_tables(read_item_tables(place.item_tables))
        self.place = place
        return True

    def _open_best(self, forms: Iterable[str], allow_own_models: bool) -> None:
        reasons = []
        for form in forms:
            self.form, self.directory = form, self.place.path / SAVED_MODELS[form]
            try:
                self.retrieval = self._open(allow_own_models)
                return
            except ArtifactError as error:
                reasons.append(f"{form}: {error}")
                if self.directory.exists():
                    logger.warning("the form %s does not load: %s", form, error)
        raise ArtifactError(f"no form of {self.place.path} loads here ({'; '.join(reasons)}); run `nann rewrite` again")

    def _open(self, allow_own_models: bool) -> SavedRetrieval:
        if self.form != "portable" and not native_ops.available():
            raise ArtifactError("the native library is not built; run `make install`, or use the form portable")
        with opening(self.directory, "an exported retrieval graph", step="rewrite"):
            return SavedRetrieval(self.directory, allow_own_models=allow_own_models)

    def _inputs_of_one(self) -> dict[str, dict[str, Any]]:
        """Of the converted model around a SavedModel; without one, of its signature: nothing is known of their values then."""
        parents = self.directory.absolute().parents
        if len(parents) > 2 and parents[1].name == SAVED_MODELS["portable"].parts[0] and (found := served_inputs(parents[2])):
            return found
        more = sorted(set(self.signatures["by_catalogue_id"].inputs) - {"item_ids"})
        return {name: {"side": "history", "values": []} for name in more}

    def set_item_tables(self, tables: ItemTables) -> int:
        """Replaces which items may be returned and what is added to their scores; returns how many of the catalogue are named.

        Raises:
            ArtifactError: none is, or the graph was exported without filters.
        """
        if not self.retrieval.input_types(SET_TABLES):
            raise ArtifactError(f"{self.place.path} was exported without filters, by an earlier version; run `nann rewrite` again")
        ids = tables.ids_as(integers=self.id_type != tf.string)
        rows = self.retrieval.run("catalogue_rows", item_ids=ids[np.newaxis])["item_rows"][0]
        known = rows > 0
        tables.require_known(known, self.place.path)
        available, prior = np.ones(self.num_items + 1, bool), np.zeros(self.num_items + 1, np.float32)
        available[rows[known]], prior[rows[known]] = tables.available[known], tables.prior[known]
        self.retrieval.run(SET_TABLES, available=available, prior=prior)
        self.has_item_tables = True
        logger.info("%d of %d items are available", available[1:].sum(), self.num_items)
        return int(known.sum())

    @cached_property
    def signatures(self) -> dict[str, Any]:
        """SignatureDefs by name."""
        return {name: found for name, found in read_saved_meta(self.directory).signature_def.items() if not name.startswith("__")}

    @property
    def id_type(self) -> tf.DType:
        """Type of the catalogue's ids, `tf.int64` or `tf.string`."""
        return self.retrieval.id_type

    @cached_property
    def no_item(self) -> int | bytes:
        """An id that no item has: it fills histories up, and the graph leaves it out."""
        candidates: Any = np.array([[b"", *(b"\0" * count for count in range(1, 9))]], object)
        if self.id_type == tf.int64:
            candidates = np.array([-(2**63) + np.arange(9)], np.int64)
        rows = self.retrieval.run("catalogue_rows", item_ids=candidates)["item_rows"][0]
        found: int | bytes = candidates[0].tolist()[int(np.argmin(rows))]
        return found

    @cached_property
    def category_rows(self) -> NDArray[np.int64]:
        """[N + 1] category row by item row."""
        return load_table(self.directory / "variables" / "variables", "item_categories").astype(np.int64)

    @property
    def no_category(self) -> int | bytes:
        """An id that stands for no category in a list of them."""
        return b"" if self.retrieval.input_types("filtered_by_catalogue_id")["category_ids"] == tf.string else -(2**63)

    @property
    def num_items(self) -> int:
        """N: item rows are 1..N."""
        return len(self.category_rows) - 1


def form_of(directory: Path) -> str:
    """The form of a SavedModel, by its ops.

    Raises:
        ArtifactError: it cannot be read.
    """
    graph = read_saved_meta(directory).graph_def
    ops = {node.op for nodes in (graph.node, *(function.node_def for function in graph.library.function)) for node in nodes}
    if any(op.startswith(("Nann>BeamSearch", "Nann>FilteredSearch")) for op in ops):
        return "fused"
    return "native" if any(op.startswith("Nann>") for op in ops) else "portable"


def warm_up(model: OpenedModel, users: int) -> None:
    """Asks for so many users in one call, by ids that no item has and by rows, so that no request pays for tracing and allocation."""
    rows = np.arange(1, min(model.num_items, 50) + 1, dtype=np.int64)
    ids = np.full((users, len(rows)), model.no_item, object if isinstance(model.no_item, bytes) else np.int64)
    unknown = unknown_inputs(model.inputs, ids.shape)
    model.retrieval.run("by_catalogue_id", item_ids=ids, **unknown)
    histories = np.tile(rows, (users, 1))
    model.retrieval.run("serving_default", item_ids=histories, cate_ids=model.category_rows[histories], **unknown)
