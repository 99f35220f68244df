"""The retrieval graph, in the forms it is loaded in: a TF1 MetaGraph with its checkpoint, and SavedModels.

The MetaGraph and the portable SavedModel are one graph of stock ops; in the native SavedModel the walk is made of native ops, in the
fused one walk and scoring are one native op. Tables are variables of one checkpoint for all, the scorer's networks are two functions in
the graph's library (``nann_encode_user`` and ``nann_score``) cut out of the frozen graph. Placeholders and outputs by tensor name:

- ``catalogue_item_ids`` [B, L] int64 or string, catalogue ids; ``item_ids`` [B, L] int64, rows, by default those of the catalogue ids;
  ``cate_ids`` [B, L] int64, rows, by default those of the items: whichever is fed, what comes before it is not run;
- ``input_NAME`` [B, L] or [B, V] int64 for each input of the model (see `nann.dataset.inputs`), by default 0 for unknown; NAME in the
  signatures;
- ``ef`` and ``rounds`` [levels] int64, ``top_k`` and ``start_level`` [] int64: the search, by default as exported;
- ``top_k_item_ids`` [B, K] int64 rows, ``top_k_scores`` [B, K] float32, ``items_scored`` [B] int64, ``top_k_catalogue_item_ids`` [B, K].
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from nann.dataset.inputs import INPUT_PREFIX, RequestInput
from nann.export.catalogue import Catalogue, CatalogueLookup
from nann.export.filter_graph import add_filtering, filtered_signatures, name_found
from nann.export.freeze import ENCODE_USER, PARAMETERS, SCORE, cut_networks, lower_frozen, user_state_names
from nann.export.history_graph import TracedHistory
from nann.export.saved_model import write_saved_model
from nann.index.embeddings import Embeddings
from nann.index.graph import Graph
from nann.memory.table import CorpusMemory
from nann.retrieval import (
    FilterTables,
    FusedSearch,
    HistoryScorer,
    NativeWalk,
    OpSearch,
    Query,
    Search,
    SearchInputs,
    SearchParameters,
    SearchTables,
    StockWalk,
)
from nann.retrieval.beam import UserState
from nann.retrieval.filters import exact_limit
from nann.retrieval.memory import MemoryTables
from nann.retrieval.retrievers import rows_at
from nann.retrieval.tables import MakeVariable
from nann.retrieval.walk import COMPILED_WIDTHS, WIDTHS
from ops import retrieval as native_ops
from ops import scoring
from ops.graphdef.importing import output_types
from ops.precisions import Precision
from ops.scoring_program import LoweredScorer, LoweringError

META_NAME = "0.meta"
PORTABLE = Path("saved_model") / "portable" / "1"
NATIVE = Path("saved_model") / "native" / "1"
FUSED = Path("saved_model") / "fused" / "1"
SAVED_MODELS = {"portable": PORTABLE, "native": NATIVE, "fused": FUSED}
MICROSECONDS = "search_microseconds"
logger = logging.getLogger(__name__)
FROZEN_DIGEST_COLLECTION = "nann_frozen_graph_sha256"
MUST_COMPILE = "_XlaMustCompile"
LEAST = tf.int64.min
HISTORY = {"item_ids": "item_ids", "cate_ids": "cate_ids"}
SEARCH = {name: name for name in SearchInputs._fields}
SIGNATURES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "serving_default": (
        HISTORY,
        {"top_k_item_ids": "top_k_item_ids", "top_k_scores": "top_k_scores"},
    ),
    "debug": (
        HISTORY,
        {"top_k_item_ids": "top_k_item_ids", "top_k_scores": "top_k_scores", "items_scored": "items_scored"},
    ),
    "search": (
        {**HISTORY, **SEARCH},
        {"top_k_item_ids": "top_k_item_ids", "top_k_scores": "top_k_scores", "items_scored": "items_scored"},
    ),
    "by_catalogue_id": (
        {"item_ids": "catalogue_item_ids"},
        {"top_k_item_ids": "top_k_catalogue_item_ids", "top_k_scores": "top_k_scores"},
    ),
    "catalogue_rows": ({"item_ids": "catalogue_item_ids"}, {"item_rows": "catalogue_item_rows", "cate_rows": "catalogue_cate_rows"}),
    **filtered_signatures(HISTORY),
}


class _Variables:
    """Resource variables of a TF1 graph and the values they get: no value ever becomes a constant of the graph."""

    def __init__(self) -> None:
        self._values: list[tuple[tf.Variable, Any]] = []

    def make(self, name: str, value: Any) -> tf.Variable:
        """A variable of the value's shape and type; the value is fed when `initialize` runs."""
        dtype = tf.string if value.dtype == object else tf.as_dtype(value.dtype)
        variable = tf.compat.v1.Variable(tf.zeros(value.shape, dtype), trainable=False, use_resource=True, name=name)
        self._values.append((variable, value))
        return variable

    def initialize(self, session: tf.compat.v1.Session) -> None:
        for variable, value in self._values:
            session.run(variable.initializer, {variable.initializer.inputs[1]: value})


@dataclass(frozen=True)
class RetrievalParts:
    """What a retrieval graph is made of.

    Attributes:
        scorer: the model; its embedding tables become variables of the retrieval graph.
        frozen: the same model, frozen; its networks are cut out of it.
        frozen_digest: sha256 (hex) of ``frozen_graph.pb``, recorded in the MetaGraph.
        catalogue: all items of the dataset.
        embeddings: the corpus to retrieve from.
        graph: built from these embeddings.
        search: the defaults of the search; as many levels of the graph are kept as it names.
        compiled: score with XLA, on a grid of widths, in the SavedModels; the MetaGraph is never compiled.
        table_precision: the embedding tables and the item vectors are stored in.
        memory: of the corpus, joined with the scores; None: none.
    """

    scorer: HistoryScorer
    frozen: tf.compat.v1.GraphDef
    frozen_digest: str
    catalogue: Catalogue
    embeddings: Embeddings
    graph: Graph
    search: SearchParameters
    compiled: bool = False
    table_precision: Precision = "float32"
    memory: CorpusMemory | None = None


def write_retrieval_graph(directory: Path, parts: RetrievalParts) -> None:
    """Writes ``0.meta``, ``0.index``, ``0.data-00000-of-00001``, ``saved_model/portable/1``, ``saved_model/native/1`` and
    ``saved_model/fused/1``.

    Without the native library the last two are left out, and the last one where item vectors are not stored in float32, or the scorer has
    an operation that a program has no form of; a warning says so.

    Args:
        directory: where to write; must exist.
        parts: see `RetrievalParts`.
    """
    prefix = directory / "0"
    meta = _export(parts, OpSearch(), checkpoint=prefix)
    (directory / META_NAME).write_bytes(meta.SerializeToString(deterministic=True))
    widths = COMPILED_WIDTHS if parts.compiled else WIDTHS
    if parts.compiled:
        meta = _export(parts, OpSearch(StockWalk(widths)), compiled=True)
    write_saved_model(directory / PORTABLE, meta, prefix)
    if native_ops.available():
        write_saved_model(directory / NATIVE, _export(parts, OpSearch(NativeWalk(widths)), compiled=parts.compiled), prefix)
    if parts.table_precision != "float32":
        logger.warning("%s is left out: it reads item vectors in float32, they are stored in %s", FUSED, parts.table_precision)
    elif scoring.available():
        try:
            lowered = lower_frozen(parts.frozen)
        except LoweringError as error:
            logger.warning("%s is left out: %s", FUSED, error)
        else:
            write_saved_model(directory / FUSED, _export(parts, _fused(lowered)), prefix)


def _export(parts: RetrievalParts, search: Search, *, compiled: bool = False, checkpoint: Path | None = None) -> tf.compat.v1.MetaGraphDef:
    """Builds the graph, writes its variables into a checkpoint if one is named, and returns the MetaGraph with its signatures."""
    history, lookup = TracedHistory(parts.scorer.scorer, precision=parts.table_precision), CatalogueLookup(parts.catalogue)
    networks = cut_networks(parts.frozen)
    state_shapes = [shape for shape, _ in output_types(parts.frozen, user_state_names(parts.frozen))]
    variables = _Variables()
    with tf.Graph().as_default() as graph:
        tables = SearchTables.create(
            parts.embeddings, parts.graph, max_levels=len(parts.search.ef), make=variables.make, precision=parts.table_precision
        )
        lookup.create(variables.make)
        item_ids, cate_ids = _inputs(lookup)
        memory = None if parts.memory is None else MemoryTables.create(parts.memory, variables.make)
        inputs = _model_inputs(parts.scorer.scorer.request_inputs, item_ids)
        parameters = _search_inputs(parts.search)
        sequence, mask = history.import_into(variables.make, *parts.scorer.prepare(item_ids, cate_ids, **inputs))
        user_state, score = _import_networks(networks, state_shapes, sequence, mask, compiled=compiled)
        query = Query(item_ids, cate_ids, user_state)
        found = search.walk(score, query, tables, parameters, memory)
        rows = tf.identity(_checked_rows(rows_at(tables.item_rows, found.positions), parts.catalogue.num_items), name="top_k_item_ids")
        tf.identity(found.scores, name="top_k_scores")
        tf.identity(found.items_scored, name="items_scored")
        tf.identity(lookup.ids_of(rows), name="top_k_catalogue_item_ids")
        _add_filtered(parts, search, lookup, variables.make, (score, query, tables, parameters, memory))
        tf.compat.v1.add_to_collection(FROZEN_DIGEST_COLLECTION, parts.frozen_digest)
        saver = tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V2)
        if checkpoint is not None:
            with tf.compat.v1.Session(graph=graph) as session:
                variables.initialize(session)
                saver.save(session, str(checkpoint), write_meta_graph=False, write_state=False)
        meta = tf.compat.v1.train.export_meta_graph(graph=graph, saver_def=saver.as_saver_def(), strip_default_attrs=True)
        for name, signature in _signatures(graph, inputs).items():
            meta.signature_def[name].CopyFrom(signature)
    return meta


def _add_filtered(
    parts: RetrievalParts, search: Search, lookup: CatalogueLookup, make: MakeVariable, common: tuple[Any, Query, SearchTables, Any, Any]
) -> None:
    """The same search for items that pass; `common` are the arguments of `Search.walk`."""
    _, query, tables, *_ = common
    catalogue, count = parts.catalogue, len(parts.embeddings)
    filters = FilterTables.create(parts.embeddings.item_rows, catalogue.category_rows, catalogue.num_categories, make=make)
    filtering = add_filtering(filters, lookup, query.item_rows, exact_limit(parts.search.ef, count))
    found = search.filtered(*common, filtering)
    name_found(found, _checked_rows(rows_at(tables.item_rows, found.positions), catalogue.num_items), lookup)


def _checked_rows(rows: tf.Tensor, num_items: int) -> tf.Tensor:
    """The rows, or an error where a damaged table holds what is no row of the catalogue."""
    known = tf.reduce_all(tf.logical_and(rows >= 0, rows <= num_items))
    with tf.control_dependencies(
        [tf.debugging.Assert(known, [f"item_rows must be in 0..{num_items}; rewrite the model again, got", rows])]
    ):
        return tf.identity(rows)


def _search_inputs(search: SearchParameters) -> SearchInputs:
    """The search as placeholders with defaults. Lists longer than the number of levels are an error; one number counts for all levels.

    Servers do not compare a request with the shapes of a signature, and TensorFlow takes out checks of a shape that it believes to know
    from the default. What is computed with a list of as many numbers as there are levels has to fit it.
    """
    defaults = SearchInputs.of(search)
    given = (
        tf.compat.v1.placeholder_with_default(default, [None] * len(default.shape), name=name)
        for name, default in zip(SearchInputs._fields, defaults, strict=True)
    )
    return SearchInputs(*(_fitting(value, default.shape) for value, default in zip(given, defaults, strict=True)))


def _fitting(value: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """The value, or an error where it does not fit a shape."""
    least = tf.fill(shape, tf.constant(LEAST, tf.int64))
    if shape == [1]:  # a longer value would be a broadcast
        return tf.tensor_scatter_nd_update(least, [[0]], value)
    return tf.maximum(value, least)


def _inputs(lookup: CatalogueLookup) -> tuple[tf.Tensor, tf.Tensor]:
    """The placeholders, each a default of the next."""
    catalogue_item_ids = tf.compat.v1.placeholder(lookup.id_type, [None, None], name="catalogue_item_ids")
    catalogue_rows = tf.identity(lookup.rows_of(catalogue_item_ids), name="catalogue_item_rows")
    tf.identity(lookup.categories_of(catalogue_rows), name="catalogue_cate_rows")
    item_ids = tf.compat.v1.placeholder_with_default(catalogue_rows, [None, None], name="item_ids")
    cate_ids = tf.compat.v1.placeholder_with_default(lookup.categories_of(item_ids), [None, None], name="cate_ids")
    return item_ids, cate_ids


def _model_inputs(described: Mapping[str, RequestInput], item_ids: tf.Tensor) -> dict[str, tf.Tensor]:
    """The placeholders of what else the model reads; unknown by default."""
    unknown = {"history": tf.zeros_like(item_ids), "user": tf.zeros_like(item_ids[:, :1])}
    return {
        name: tf.compat.v1.placeholder_with_default(unknown[entry.side], [None, None], name=INPUT_PREFIX + name)
        for name, entry in described.items()
    }


def _import_networks(
    networks: tf.compat.v1.GraphDef, state_shapes: list[tf.TensorShape], sequence: tf.Tensor, mask: tf.Tensor, *, compiled: bool
) -> tuple[UserState, Callable[[UserState, tf.Tensor], tf.Tensor]]:
    """Calls the networks' functions by name, so that others can be linked in their place."""
    if compiled:
        for function in networks.library.function:
            if function.signature.name == SCORE:
                function.attr[MUST_COMPILE].b = True
    tf.import_graph_def(networks, name="")

    def call(name: str, arguments: tuple[tf.Tensor, ...], shapes: list[tf.TensorShape]) -> UserState:
        outputs = tuple(tf.raw_ops.PartitionedCall(args=list(arguments), Tout=[tf.float32] * len(shapes), f=name, name=name))
        if compiled and name == SCORE:
            outputs[0].op._set_attr(MUST_COMPILE, tf.compat.v1.AttrValue(b=True))
        for output, shape in zip(outputs, shapes, strict=True):
            output.set_shape(shape)
        return outputs

    user_state = call(ENCODE_USER, (sequence, mask), state_shapes)
    return user_state, lambda state, items: call(SCORE, (*state, items), [tf.TensorShape([None, None])])[0]


def _fused(lowered: LoweredScorer) -> FusedSearch:
    """Walk and scoring in one op; the program's parameters are computed by a function of the graph's library."""

    def parameters(*user_state: tf.Tensor) -> list[tf.Tensor]:
        networks = tf.compat.v1.GraphDef()
        function_def = networks.library.function.add()
        function_def.CopyFrom(lowered.parameters.function_def)
        function_def.signature.name = PARAMETERS
        tf.import_graph_def(networks, name="")
        types = [tf.float32] * len(function_def.signature.output_arg)
        return list(tf.raw_ops.PartitionedCall(args=list(user_state), Tout=types, f=PARAMETERS, name=PARAMETERS))

    return FusedSearch(lowered.program, parameters, timing=MICROSECONDS)


def _signatures(graph: tf.Graph, model_inputs: Iterable[str]) -> dict[str, tf.compat.v1.SignatureDef]:
    signatures, more = {}, {name: INPUT_PREFIX + name for name in model_inputs}
    for name, (inputs, outputs) in SIGNATURES.items():
        inputs = inputs | more if "top_k_scores" in outputs else inputs
        named = [
            {key: tf.compat.v1.saved_model.build_tensor_info(graph.get_tensor_by_name(f"{tensor}:0")) for key, tensor in tensors.items()}
            for tensors in (inputs, outputs)
        ]
        signatures[name] = tf.compat.v1.saved_model.build_signature_def(*named, method_name="tensorflow/serving/predict")
    return signatures


def digest_of(frozen: bytes) -> str:
    """Hex sha256 of a frozen graph's bytes, as recorded in the MetaGraph."""
    return hashlib.sha256(frozen).hexdigest()
