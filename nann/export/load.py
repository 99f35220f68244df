"""Loads what was exported: the MetaGraph with its checkpoint (linked with a frozen graph, or alone) and the SavedModel.

Only TensorFlow is needed to do this; `docs/retrieval.md` shows it without this package.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from nann.config import GraphForm
from nann.errors import ArtifactError
from nann.export.freeze import FrozenScorer, cut_networks, load_frozen_graph, load_frozen_scorer
from nann.export.retrieval_graph import FROZEN_DIGEST_COLLECTION, META_NAME, SAVED_MODELS, digest_of
from nann.export.served_inputs import served_inputs
from nann.index.embeddings import Embeddings
from nann.index.graph import Graph, NeighborLists
from nann.memory.table import CorpusMemory
from nann.retrieval.memory import PREFIX as MEMORY_PREFIX
from nann.retrieval.memory import memory_of_arrays
from ops import retrieval as native_ops
from ops.packed_table import PackedTable, unpack


class ExportedRetrieval(Protocol):
    """A loaded retrieval graph; calls may come from several threads."""

    @property
    def id_type(self) -> tf.DType:
        """Type of the catalogue's ids, `tf.int64` or `tf.string`."""

    def run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name of a signature (`serving_default`, `debug`, `search`, `by_catalogue_id`, `catalogue_rows`)."""


class SavedRetrieval:
    """A SavedModel.

    Args:
        directory: ``converted_model/saved_model/portable/1``, or ``native/1`` or ``fused/1`` after the native ops were loaded.
    """

    def __init__(self, directory: Path) -> None:
        self._model = tf.saved_model.load(str(directory))
        self.id_type: tf.DType = self._model.signatures["by_catalogue_id"].structured_input_signature[1]["item_ids"].dtype

    def run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `ExportedRetrieval.run`."""
        outputs = self._model.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}


class LinkedRetrieval:
    """The MetaGraph and its checkpoint in a session of their own.

    Args:
        meta: a MetaGraphDef of ``0.meta``, as it is or linked.
        prefix: the checkpoint's path without extension.
    """

    def __init__(self, meta: tf.compat.v1.MetaGraphDef, prefix: Path) -> None:
        with tf.Graph().as_default() as graph:
            saver = tf.compat.v1.train.import_meta_graph(meta)
            self._session = tf.compat.v1.Session(graph=graph)
            saver.restore(self._session, str(prefix))
        self._signatures = meta.signature_def
        self.id_type: tf.DType = graph.get_tensor_by_name("catalogue_item_ids:0").dtype

    def run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `ExportedRetrieval.run`; inputs with a default (`cate_ids`, the search, what the model reads beside) may be left out."""
        named = self._signatures[signature]
        return dict(
            self._session.run(
                {name: info.name for name, info in named.outputs.items()},
                {named.inputs[name].name: value for name, value in inputs.items()},
            )
        )


def open_graph(converted_model: Path, form: GraphForm) -> ExportedRetrieval:
    """The retrieval graph of a converted model.

    Args:
        converted_model: directory of `rewrite`.
        form: "native", "fused" or "portable", the SavedModels; or "meta", ``0.meta`` with its checkpoint and ``frozen_graph.pb``
            linked in.

    Raises:
        ArtifactError: it is not there or cannot be loaded, or the native library is missing.
    """
    if form == "meta":
        return open_linked(converted_model / META_NAME, converted_model / "frozen_graph.pb")
    return open_portable(converted_model) if form == "portable" else open_native(converted_model, form)


def open_portable(converted_model: Path) -> SavedRetrieval:
    """The SavedModel of stock ops.

    Raises:
        ArtifactError: it cannot be loaded.
    """
    return _open_saved(converted_model / SAVED_MODELS["portable"])


def open_native(converted_model: Path, form: Literal["native", "fused"] = "native") -> SavedRetrieval:
    """A SavedModel of native ops: "native", the walk, or "fused", walk and scoring in one.

    Raises:
        ArtifactError: it cannot be loaded, or the native library is missing.
    """
    if not native_ops.available():
        raise ArtifactError("the native library is not built; run `make install`, or use --graph portable")
    return _open_saved(converted_model / SAVED_MODELS[form])


def _open_saved(directory: Path) -> SavedRetrieval:
    try:
        return SavedRetrieval(directory)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{directory} is no exported retrieval graph ({error}); run `nann rewrite` again") from error


def open_linked(meta_path: Path, graph_file: Path | None = None) -> LinkedRetrieval:
    """The MetaGraph with its checkpoint (``0.index``, ``0.data-*`` beside it), its networks taken from a frozen graph if one is given.

    Raises:
        ArtifactError: a file is missing or not what it should be, or the frozen graph is not the one the MetaGraph was made from.
    """
    meta = _read_meta(meta_path)
    if graph_file is not None:
        networks = cut_networks(load_frozen_graph(graph_file))
        expected = meta.collection_def[FROZEN_DIGEST_COLLECTION].bytes_list.value[0].decode()
        found = digest_of(Path(graph_file).read_bytes())
        if found != expected:
            raise ArtifactError(
                f"{graph_file} has sha256 {found[:12]}, but {meta_path} was made from a frozen graph with sha256 {expected[:12]}; "
                "give the frozen_graph.pb that lies beside it, or run `nann rewrite` again"
            )
        replaced = {function.signature.name: function for function in networks.library.function}
        for function in meta.graph_def.library.function:
            if function.signature.name in replaced:
                function.CopyFrom(replaced[function.signature.name])
    try:
        return LinkedRetrieval(meta, _prefix(meta_path))
    except (ValueError, KeyError, tf.errors.OpError) as error:
        raise ArtifactError(f"the checkpoint of {meta_path} cannot be restored ({error}); run `nann rewrite` again") from error


def load_corpus(meta_path: Path) -> tuple[Embeddings, Graph]:
    """The corpus in the checkpoint of a MetaGraph: item vectors as they are served, and the levels of the graph that were exported.

    Raises:
        ArtifactError: the checkpoint cannot be read.
    """
    try:
        reader = tf.train.load_checkpoint(str(_prefix(meta_path)))
        names = reader.get_variable_to_shape_map()
        levels: list[NeighborLists] = []
        while f"neighbors_level_{len(levels)}_values" in names:
            stem = f"neighbors_level_{len(levels)}"
            levels.append(NeighborLists(values=reader.get_tensor(f"{stem}_values"), row_splits=reader.get_tensor(f"{stem}_row_splits")))
        scales = reader.get_tensor("item_embs_scales") if "item_embs_scales" in names else None
        vectors = unpack(PackedTable(reader.get_tensor("item_embs"), scales))
        embeddings = Embeddings(item_rows=reader.get_tensor("item_rows"), vectors=vectors)
        enter_points = reader.get_tensor("enter_points")[reader.get_tensor("enter_as_built")]
        return embeddings, Graph(enter_points=enter_points, levels=tuple(levels))
    except (ValueError, tf.errors.OpError) as error:
        raise ArtifactError(f"the checkpoint of {meta_path} cannot be read ({error}); run `nann rewrite` again") from error


def load_corpus_memory(meta_path: Path) -> CorpusMemory | None:
    """The memory in the checkpoint of a MetaGraph; None for a model without one.

    Raises:
        ArtifactError: the checkpoint cannot be read.
    """
    try:
        reader = tf.train.load_checkpoint(str(_prefix(meta_path)))
        names = [name for name in reader.get_variable_to_shape_map() if name.startswith(MEMORY_PREFIX)]
        return memory_of_arrays({name: reader.get_tensor(name) for name in names}) if names else None
    except (ValueError, KeyError, tf.errors.OpError) as error:
        raise ArtifactError(f"the memory in the checkpoint of {meta_path} cannot be read ({error}); run `nann rewrite` again") from error


def _prefix(meta_path: Path) -> Path:
    return Path(meta_path).with_suffix("")


def _read_meta(meta_path: Path) -> tf.compat.v1.MetaGraphDef:
    try:
        meta = tf.compat.v1.MetaGraphDef.FromString(Path(meta_path).read_bytes())
    except (OSError, DecodeError) as error:
        raise ArtifactError(f"{meta_path} is not a {META_NAME} ({error}); run `nann rewrite` again") from error
    if FROZEN_DIGEST_COLLECTION not in meta.collection_def:
        raise ArtifactError(f"{meta_path} is a MetaGraph, but not one of `nann rewrite`; run that step again")
    return meta


class ConvertedModel:
    """A converted model: each part is read when it is asked for, and kept; a part that is damaged is an `ArtifactError`.

    Args:
        path: its directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """Descriptions by name of what requests hold beside items, see `served_inputs`."""
        return served_inputs(self.path)

    @cached_property
    def scorer(self) -> FrozenScorer:
        """The frozen scorer."""
        return load_frozen_scorer(self.path / "frozen_graph.pb")

    @cached_property
    def corpus(self) -> tuple[Embeddings, Graph]:
        """The item vectors as they are served, and the graph over them."""
        return load_corpus(self.path / META_NAME)

    @cached_property
    def memory(self) -> CorpusMemory | None:
        """The memory; None for a model without one."""
        return load_corpus_memory(self.path / META_NAME)

    def open(self, form: GraphForm) -> ExportedRetrieval:
        """The retrieval graph, see `open_graph`."""
        return open_graph(self.path, form)
