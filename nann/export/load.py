"""Loads what was exported: the MetaGraph with its checkpoint (linked with a frozen graph, or alone) and the SavedModel.

Only TensorFlow is needed to do this; `docs/retrieval.md` shows it without this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from nann.config import GraphForm
from nann.contents import opening, without_wildcards
from nann.errors import ArtifactError
from nann.export.allowed_ops import require_known_meta
from nann.export.freeze import FrozenScorer, cut_networks, load_frozen_graph, load_frozen_scorer
from nann.export.retrieval_graph import FROZEN_DIGEST_COLLECTION, META_NAME, SAVED_MODELS, digest_of
from nann.export.served_inputs import served_inputs
from nann.index.embeddings import Embeddings
from nann.index.graph import Graph, NeighborLists, problem_of
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

    def input_types(self, signature: str) -> dict[str, tf.DType]:
        """Types of a signature's inputs by name; nothing for a signature that the graph does not have."""

    def run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name of a signature (`serving_default`, `debug`, `search`, `by_catalogue_id`, `catalogue_rows`, and those of
        `nann.export.filter_graph`)."""


class SavedRetrieval:
    """A SavedModel.

    Args:
        directory: ``converted_model/saved_model/portable/1``, or ``native/1`` or ``fused/1`` after the native ops were loaded.
        allow_own_models: whatever ops it holds.
    """

    def __init__(self, directory: Path, *, allow_own_models: bool = False) -> None:
        require_known_meta(read_saved_meta(directory), directory, allow_own_models=allow_own_models)
        with without_wildcards(directory) as plain:
            self._model = tf.saved_model.load(str(plain))
        self.id_type: tf.DType = self.input_types("by_catalogue_id")["item_ids"]

    def input_types(self, signature: str) -> dict[str, tf.DType]:
        """See `ExportedRetrieval.input_types`."""
        if signature not in self._model.signatures:
            return {}
        return {name: spec.dtype for name, spec in self._model.signatures[signature].structured_input_signature[1].items()}

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
            with without_wildcards(prefix) as plain:
                # not `Saver.restore`, which looks for the checkpoint by a pattern of names first
                self._session.run(saver.saver_def.restore_op_name, {saver.saver_def.filename_tensor_name: str(plain)})
        self._signatures = meta.signature_def
        self.id_type: tf.DType = graph.get_tensor_by_name("catalogue_item_ids:0").dtype

    def input_types(self, signature: str) -> dict[str, tf.DType]:
        """See `ExportedRetrieval.input_types`."""
        if signature not in self._signatures:
            return {}
        return {name: tf.as_dtype(info.dtype) for name, info in self._signatures[signature].inputs.items()}

    def run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `ExportedRetrieval.run`; inputs with a default (`cate_ids`, the search, what the model reads beside) may be left out."""
        named = self._signatures[signature]
        return dict(
            self._session.run(
                {name: info.name for name, info in named.outputs.items()},
                {named.inputs[name].name: value for name, value in inputs.items()},
            )
        )


def open_graph(converted_model: Path, form: GraphForm, *, allow_own_models: bool = False) -> ExportedRetrieval:
    """The retrieval graph of a converted model.

    Args:
        converted_model: directory of `rewrite`.
        form: "native", "fused" or "portable", the SavedModels; or "meta", ``0.meta`` with its checkpoint and ``frozen_graph.pb``
            linked in.
        allow_own_models: whatever ops it holds; otherwise those of `nann.export.allowed_ops` alone.

    Raises:
        ArtifactError: it is not there or cannot be loaded, holds an op that is not allowed, or the native library is missing.
    """
    if form == "meta":
        return open_linked(converted_model / META_NAME, converted_model / "frozen_graph.pb", allow_own_models=allow_own_models)
    if form == "portable":
        return open_portable(converted_model, allow_own_models=allow_own_models)
    return open_native(converted_model, form, allow_own_models=allow_own_models)


def open_portable(converted_model: Path, *, allow_own_models: bool = False) -> SavedRetrieval:
    """The SavedModel of stock ops.

    Raises:
        ArtifactError: it cannot be loaded.
    """
    return _open_saved(converted_model / SAVED_MODELS["portable"], allow_own_models)


def open_native(converted_model: Path, form: Literal["native", "fused"] = "native", *, allow_own_models: bool = False) -> SavedRetrieval:
    """A SavedModel of native ops: "native", the walk, or "fused", walk and scoring in one.

    Raises:
        ArtifactError: it cannot be loaded, or the native library is missing.
    """
    if not native_ops.available():
        raise ArtifactError("the native library is not built; run `make install`, or use --graph portable")
    return _open_saved(converted_model / SAVED_MODELS[form], allow_own_models)


def _open_saved(directory: Path, allow_own_models: bool) -> SavedRetrieval:
    with opening(directory, "an exported retrieval graph", step="rewrite"):
        return SavedRetrieval(directory, allow_own_models=allow_own_models)


def read_saved_meta(directory: Path) -> tf.compat.v1.MetaGraphDef:
    """The MetaGraph of a SavedModel; nothing of it is run.

    Raises:
        ArtifactError: it cannot be read, or has not exactly one.
    """
    path = directory / "saved_model.pb"
    with opening(path, "a SavedModel", step="rewrite"):
        if not path.is_file() and path.with_suffix(".pbtxt").is_file():
            raise ValueError("it is written as text")
        metas = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs
        if len(metas) != 1:
            raise ValueError(f"it holds {len(metas)} graphs, one is needed")
        return metas[0]


def open_linked(meta_path: Path, graph_file: Path | None = None, *, allow_own_models: bool = False) -> LinkedRetrieval:
    """The MetaGraph with its checkpoint (``0.index``, ``0.data-*`` beside it), its networks taken from a frozen graph if one is given.

    Raises:
        ArtifactError: a file is missing or not what it should be, or the frozen graph is not the one the MetaGraph was made from.
    """
    meta = _read_meta(meta_path)
    require_known_meta(meta, meta_path, allow_own_models=allow_own_models)
    if graph_file is not None:
        with opening(graph_file, "a frozen scorer", step="rewrite"):
            networks = cut_networks(load_frozen_graph(graph_file, allow_own_models=allow_own_models))
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
    with opening(meta_path, "a retrieval graph with its checkpoint beside it", step="rewrite"):
        return LinkedRetrieval(meta, _prefix(meta_path))


def load_corpus(meta_path: Path) -> tuple[Embeddings, Graph]:
    """The corpus in the checkpoint of a MetaGraph: item vectors as they are served, and the levels of the graph that were exported.

    Raises:
        ArtifactError: the checkpoint cannot be read.
    """
    with _checkpoint(_prefix(meta_path)) as reader:
        names = reader.get_variable_to_shape_map()
        levels: list[NeighborLists] = []
        while f"neighbors_level_{len(levels)}_values" in names:
            stem = f"neighbors_level_{len(levels)}"
            levels.append(NeighborLists(values=reader.get_tensor(f"{stem}_values"), row_splits=reader.get_tensor(f"{stem}_row_splits")))
        scales = reader.get_tensor("item_embs_scales") if "item_embs_scales" in names else None
        vectors = unpack(PackedTable(reader.get_tensor("item_embs"), scales))
        embeddings = Embeddings(item_rows=reader.get_tensor("item_rows"), vectors=vectors)
        enter_points = reader.get_tensor("enter_points")[reader.get_tensor("enter_as_built")]
        graph = Graph(enter_points=enter_points, levels=tuple(levels))
        if problem := problem_of(graph):
            raise ValueError(problem)
        if vectors.ndim != 2 or not len(vectors) == len(embeddings.item_rows) == graph.num_nodes:
            raise ValueError(f"it has {len(embeddings.item_rows)} items, vectors {list(vectors.shape)} and a graph of {graph.num_nodes}")
        return embeddings, graph


def load_corpus_memory(meta_path: Path) -> CorpusMemory | None:
    """The memory in the checkpoint of a MetaGraph; None for a model without one.

    Raises:
        ArtifactError: the checkpoint cannot be read.
    """
    with _checkpoint(_prefix(meta_path)) as reader:
        names = [name for name in reader.get_variable_to_shape_map() if name.startswith(MEMORY_PREFIX)]
        return memory_of_arrays({name: reader.get_tensor(name) for name in names}) if names else None


def load_table(prefix: Path, name: str) -> np.ndarray:
    """A table of an exported graph, see docs/retrieval.md.

    Args:
        prefix: of the checkpoint: ``0`` of a converted model, ``variables/variables`` of a SavedModel.
        name: of the table.

    Raises:
        ArtifactError: it cannot be read.
    """
    with _checkpoint(prefix) as reader:
        return np.asarray(reader.get_tensor(name))


@contextmanager
def _checkpoint(prefix: Path) -> Iterator[Any]:
    with opening(prefix, "the checkpoint of a retrieval graph", step="rewrite"), without_wildcards(prefix) as plain:
        yield tf.train.load_checkpoint(str(plain))


def _prefix(meta_path: Path) -> Path:
    return Path(meta_path).with_suffix("")


def _read_meta(meta_path: Path) -> tf.compat.v1.MetaGraphDef:
    with opening(meta_path, f"a {META_NAME}", step="rewrite"):
        meta = tf.compat.v1.MetaGraphDef.FromString(Path(meta_path).read_bytes())
    if not meta.collection_def[FROZEN_DIGEST_COLLECTION].bytes_list.value:
        raise ArtifactError(f"{meta_path} is a MetaGraph, but not one of `nann rewrite`; run that step again")
    return meta


class ConvertedModel:
    """A converted model: each part is read when it is asked for, and kept; a part that is damaged is an `ArtifactError`.

    Args:
        path: its directory.
        allow_own_models: whatever ops its graphs hold; otherwise those of `nann.export.allowed_ops` alone.
    """

    def __init__(self, path: Path, *, allow_own_models: bool = False) -> None:
        self.path, self._allow = path, allow_own_models

    @cached_property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """Descriptions by name of what requests hold beside items, see `served_inputs`."""
        return served_inputs(self.path)

    @cached_property
    def scorer(self) -> FrozenScorer:
        """The frozen scorer."""
        return load_frozen_scorer(self.path / "frozen_graph.pb", allow_own_models=self._allow)

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
        return open_graph(self.path, form, allow_own_models=self._allow)
