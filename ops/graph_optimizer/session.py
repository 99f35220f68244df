"""Compression inside a version 1 session, with no further call: a native Grappler optimizer hands every new graph to the rewriting here."""

from __future__ import annotations

import ctypes
import json
import logging
from importlib import resources
from typing import Any

import tensorflow as tf

from ops.graph_optimizer.compression import REPLACED, with_identity_outputs, without_stale_shapes
from ops.graph_optimizer.enabling import DECLARATION, Request
from ops.graph_optimizer.errors import GraphCompressionError
from ops.graph_optimizer.inputs import Input, RaggedInput, SparseInput
from ops.graph_optimizer.rewriting import USER_OF_ROW, rewrite_graph
from ops.graphdef.editing import copy_of, nodes_by_name
from ops.graphdef.importing import import_graph
from ops.graphdef.names import node_of
from ops.native import LIBRARY_NAME, load_library

OPTIMIZER = "nann_sample_aware_compression"
REFUSED = "sample_aware_compression_refused"
_Rewriter = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
_registered: list[Any] = []  # the callback the native library calls: it must live as long as the process
logger = logging.getLogger(__name__)


def session_config(config: tf.compat.v1.ConfigProto | None = None) -> tf.compat.v1.ConfigProto:
    """A session configuration that compresses graphs as `enable_sample_awared_graph_compression` declared.

    A run whose graph is refused fails with the reason; graphs without a declaration, or rewritten by `apply`, stay as they are.

    Args:
        config: is copied and added to.

    Raises:
        RuntimeError: the native library is not built.
    """
    _register()
    result = tf.compat.v1.ConfigProto()
    if config is not None:
        result.CopyFrom(config)
    options = result.graph_options.rewrite_options
    options.min_graph_nodes = -1  # small graphs, too
    options.remapping = options.OFF  # fused ops have no rules; oneDNN fuses again when the graph is placed
    if OPTIMIZER not in [custom.name for custom in options.custom_optimizers]:
        options.custom_optimizers.add().name = OPTIMIZER
    return result


def _register() -> None:
    if _registered:
        return
    if load_library() is None:
        raise RuntimeError(
            "the native library is not built, so sessions cannot compress graphs; run `make install`, or use freeze or apply"
        )
    with resources.as_file(resources.files("ops") / LIBRARY_NAME) as path:
        library = ctypes.CDLL(str(path))
    if not hasattr(library, "nann_set_graph_rewriter"):
        raise RuntimeError(f"{LIBRARY_NAME} has no graph rewriter; run `make install` to build it anew")

    @_Rewriter
    def rewriter(graph: int, graph_size: int, fetches: int, fetches_size: int) -> int:
        names = ctypes.string_at(fetches, fetches_size).decode().split()
        graph_def = tf.compat.v1.GraphDef.FromString(ctypes.string_at(graph, graph_size))
        try:
            changed = rewrite_for_session(graph_def, names)
        except Exception as error:  # nothing may cross the boundary to C++, and nobody would notice a session that runs uncompressed
            logger.exception("sample-aware compression failed")
            nodes = sorted(set(map(node_of, names)))
            changed = _placed(_failing(graph_def, nodes, f"sample-aware compression failed: {error!r}"), graph_def)
        if changed is None:
            return 0
        raw = changed.SerializeToString()
        library.nann_put_graph(raw, ctypes.c_size_t(len(raw)))
        return 1

    library.nann_set_graph_rewriter(rewriter)
    _registered.append(rewriter)


def rewrite_for_session(graph_def: tf.compat.v1.GraphDef, fetches: list[str]) -> tf.compat.v1.GraphDef | None:
    """The graph of a session, rewritten; None if there is nothing to do. A refused graph comes back such that its fetches fail."""
    names = sorted(set(map(node_of, fetches)))
    by_name = nodes_by_name(graph_def)
    request = _request_in(graph_def)
    if request is None or USER_OF_ROW in by_name or REFUSED in by_name:
        return None
    try:
        if node_of(request.item_size) not in by_name:
            raise GraphCompressionError(f"{request.item_size} is not fed; feed the items per user")
        products = [name for name in names if by_name[name].op in REPLACED]
        graph = import_graph(with_identity_outputs(without_stale_shapes(graph_def, set()), products))
        rewrite_graph(
            graph,
            user_inputs=request.user_inputs,
            item_inputs=request.item_inputs,
            outputs=[graph.get_operation_by_name(name) for name in names],
            item_size=graph.get_tensor_by_name(request.item_size),
            forced=frozenset(names),
            items_per_user=request.min_items_per_user,
        )
        return _placed(graph.as_graph_def(), graph_def)
    except GraphCompressionError as error:
        return _placed(_failing(graph_def, names, str(error)), graph_def)


def _placed(changed: tf.compat.v1.GraphDef, original: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Puts new nodes where the declared inputs are: by then the session has given every node a device."""
    device = next((node.device for node in original.node if DECLARATION in node.attr), "")
    for node in changed.node:
        node.device = node.device or device
    return changed


def _request_in(graph_def: tf.compat.v1.GraphDef) -> Request | None:
    declared = next((node.attr[DECLARATION].s for node in graph_def.node if DECLARATION in node.attr), None)
    if declared is None:
        return None
    users, items, item_size, min_items_per_user = json.loads(declared)
    return Request(tuple(map(_input, users)), tuple(map(_input, items)), item_size, min_items_per_user)


def _input(written: Any) -> Input:
    if isinstance(written, str):
        return written
    return SparseInput(*written) if len(written) == 3 else RaggedInput(*written)


def _failing(graph_def: tf.compat.v1.GraphDef, names: list[str], reason: str) -> tf.compat.v1.GraphDef:
    """The graph with an assertion that fails before each fetch, and before anything that could fail for a reason of its own.

    What reads a node without inputs waits for the assertion, so all that computes does: items and users that were not put together, for
    instance, would end a concatenation first, and its message would say nothing of the reason.
    """
    with tf.Graph().as_default() as graph:
        false = tf.compat.v1.placeholder_with_default(False, [], name=f"{REFUSED}/never")  # not a constant: those get folded
        tf.raw_ops.Assert(condition=false, data=[tf.constant(reason, name=f"{REFUSED}/reason")], name=REFUSED)
    result = copy_of(graph_def)
    sources = {node.name for node in result.node if not node.input}
    for node in result.node:
        if node.name in names or not sources.isdisjoint(map(node_of, node.input)):
            node.input.append(f"^{REFUSED}")
    result.node.extend(graph.as_graph_def().node)
    return result
