"""The frozen scorer: the trained model as one GraphDef with constants, and functions cut out of it.

Placeholders: ``item_ids`` and ``cate_ids`` [B, L] int64 (rows; anything out of range is missing, only the most recent max_length
count), ``item_embs`` [B or 1, n, D] float32, and ``input_NAME`` [B, L] or [B, V] int64 for each input of the model (see
`nann.dataset.inputs`). Named nodes: ``history`` [B, W, H] float32 and ``history_mask`` [B, W] bool with
W = min(max(L, 1), max_length), ``user_state_0``, ``user_state_1``, ... [B, ...], ``scores`` [B, n] float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from nann.contents import opening
from nann.dataset.inputs import INPUT_PREFIX
from nann.errors import ArtifactError
from nann.export.allowed_ops import require_known_ops
from nann.export.hoisting import hoist_user_part
from nann.retrieval import HistoryScorer
from nann.retrieval.beam import UserState
from ops.graphdef.editing import in_order_of_names, with_names_of_captures
from ops.graphdef.importing import output_types
from ops.graphdef.reach import part_of
from ops.graphdef.tables import put_aside, put_back
from ops.lookup import stock_ops
from ops.scoring_program import LoweredScorer, lower_scorer

# Protocol buffers end at 2 GiB; the networks and the graph itself need well under 16 MiB of it.
MAX_CONSTANT_BYTES = 2**31 - 2**24
ENCODE_USER, SCORE = "nann_encode_user", "nann_score"
PARAMETERS = "nann_score_parameters"


def freeze_scorer(scorer: HistoryScorer) -> tf.compat.v1.GraphDef:
    """The scorer as a GraphDef without variables or function calls.

    Raises:
        ArtifactError: its tables do not fit into one GraphDef.
    """
    size_bytes = sum(variable.shape.num_elements() * variable.dtype.size for variable in scorer.scorer.variables)
    if size_bytes > MAX_CONSTANT_BYTES:
        raise ArtifactError(
            f"the model has {size_bytes:,} bytes of variables, a frozen graph holds at most {MAX_CONSTANT_BYTES:,}; "
            "train with a smaller --emb-dim or on fewer items"
        )

    def frozen(item_ids: tf.Tensor, cate_ids: tf.Tensor, item_embs: tf.Tensor, *inputs: tf.Tensor) -> tf.Tensor:
        sequence, mask = scorer.history(item_ids, cate_ids, **dict(zip(scorer.scorer.request_inputs, inputs, strict=True)))
        sequence, mask = tf.identity(sequence, name="history"), tf.identity(mask, name="history_mask")
        user_state = tuple(
            tf.identity(tensor, name=f"user_state_{number}") for number, tensor in enumerate(scorer.scorer.encode_user(sequence, mask))
        )
        return tf.identity(scorer.score(user_state, item_embs), name="scores")

    signature = [
        tf.TensorSpec([None, None], tf.int64, name="item_ids"),
        tf.TensorSpec([None, None], tf.int64, name="cate_ids"),
        tf.TensorSpec([None, None, scorer.scorer.item_dim], tf.float32, name="item_embs"),
        *(tf.TensorSpec([None, None], tf.int64, name=INPUT_PREFIX + name) for name in scorer.scorer.request_inputs),
    ]
    with stock_ops():  # the portable exports load in any TensorFlow
        traced = tf.function(frozen, input_signature=signature).get_concrete_function()
    graph_def, tables = put_aside(convert_variables_to_constants_v2(traced).graph.as_graph_def())
    graph_def = in_order_of_names(with_names_of_captures(graph_def))
    return put_back(hoist_user_part(graph_def, user_state_names(graph_def)), tables)


def load_frozen_graph(graph_file: Path, *, allow_own_models: bool = False) -> tf.compat.v1.GraphDef:
    """Reads ``frozen_graph.pb``.

    Args:
        graph_file: its path.
        allow_own_models: whatever ops it holds; otherwise those of `nann.export.allowed_ops` alone.

    Raises:
        ArtifactError: the file does not exist, is no frozen scorer, or holds an op that is not allowed.
    """
    with opening(graph_file, "a frozen graph", step="rewrite"):
        graph_def = tf.compat.v1.GraphDef.FromString(Path(graph_file).read_bytes())
    require_known_ops(graph_def, graph_file, allow_own_models=allow_own_models)
    missing = {"item_ids", "cate_ids", "item_embs", "history", "user_state_0", "scores"} - {node.name for node in graph_def.node}
    if missing:
        raise ArtifactError(f"{graph_file} is no frozen scorer: it has no node named {sorted(missing)[0]}; run `nann rewrite` again")
    return graph_def


class FrozenScorer:
    """A frozen graph as a `UserScorer`, without the code that made it.

    Args:
        graph_def: of `freeze_scorer` or `load_frozen_graph`.

    Attributes:
        inputs: names of what it reads beside items and categories.
    """

    def __init__(self, graph_def: tf.compat.v1.GraphDef) -> None:
        self.graph_def = graph_def
        states = user_state_names(graph_def)
        self.inputs = input_names(graph_def)
        self._user_state = _cut(graph_def, ["item_ids", "cate_ids", *(INPUT_PREFIX + name for name in self.inputs)], states)
        self._score = _cut(graph_def, [*states, "item_embs"], ["scores"])

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor, **inputs: tf.Tensor) -> UserState:
        """The user state of raw histories [B, L] int64, and by name what else the scorer reads.

        Raises:
            ValueError: an input is missing.
        """
        if missing := [name for name in self.inputs if name not in inputs]:
            raise ValueError(f"the scorer reads the input {missing[0]!r}, which is not given; give it, 0 where it is unknown")
        values = (item_rows, cate_rows, *(inputs[name] for name in self.inputs))
        return tuple(self._user_state(*(tf.cast(value, tf.int64) for value in values)))

    def score(self, user_state: UserState, items: tf.Tensor) -> tf.Tensor:
        """Logits [B, n] of items [B, n, D] or [1, n, D]."""
        return self._score(*user_state, tf.convert_to_tensor(items))[0]


def load_frozen_scorer(graph_file: Path, *, allow_own_models: bool = False) -> FrozenScorer:
    """The scorer in a ``frozen_graph.pb``, as `load_frozen_graph` reads it.

    Raises:
        ArtifactError: the file does not exist, is no frozen scorer, or holds an op that is not allowed.
    """
    graph_def = load_frozen_graph(graph_file, allow_own_models=allow_own_models)
    with opening(graph_file, "a frozen scorer", step="rewrite"):
        return FrozenScorer(graph_def)


def lower_frozen(graph_def: tf.compat.v1.GraphDef) -> LoweredScorer:
    """The item side of a frozen scorer as a program for `nann.retrieval.FusedSearch`; the user states are what it takes of the user.

    Raises:
        LoweringError: it has an operation that a program has no form of.
    """
    states = user_state_names(graph_def)
    return lower_scorer(_part(graph_def, [*states, "item_embs"], ["scores"]), users=states, items="item_embs", scores="scores")


def cut_networks(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """The scorer's networks as graph functions, without the embedding tables.

    Returns:
        A GraphDef with two functions in its library: ``nann_encode_user`` (history, history_mask -> user states) and ``nann_score``
        (user states, item_embs -> scores).
    """
    states = user_state_names(graph_def)
    networks = tf.compat.v1.GraphDef(versions=graph_def.versions)
    for name, inputs, outputs in ((ENCODE_USER, ["history", "history_mask"], states), (SCORE, [*states, "item_embs"], ["scores"])):
        function_def = networks.library.function.add()
        function_def.CopyFrom(_cut(graph_def, inputs, outputs).function_def)
        function_def.signature.name = name
    return networks


def _cut(graph_def: tf.compat.v1.GraphDef, inputs: list[str], outputs: list[str]) -> Any:
    """The part of a graph between named nodes, as a callable `ConcreteFunction`."""
    part = _part(graph_def, inputs, outputs)
    imported = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(part, name=""), [])
    feeds, fetches = ([imported.graph.get_tensor_by_name(f"{name}:0") for name in names] for names in (inputs, outputs))
    return imported.prune(feeds, fetches)


def _part(graph_def: tf.compat.v1.GraphDef, inputs: list[str], outputs: list[str]) -> tf.compat.v1.GraphDef:
    """The part of a graph between named nodes, the inputs as placeholders; what lies before them is left behind."""
    graph_def, tables = put_aside(graph_def)
    opened = tf.compat.v1.GraphDef(versions=graph_def.versions)
    with tf.Graph().as_default() as placeholders:
        for name, (shape, dtype) in zip(inputs, output_types(graph_def, inputs), strict=True):
            tf.compat.v1.placeholder(dtype, shape, name=name)
    opened.node.extend(placeholders.as_graph_def().node)
    opened.node.extend(node for node in graph_def.node if node.name not in inputs)
    return put_back(part_of(opened, [*outputs, *inputs]), tables)


def input_names(graph_def: tf.compat.v1.GraphDef) -> list[str]:
    """Names of the inputs that a frozen scorer reads beside items and categories, in order of name."""
    return sorted(
        node.name.removeprefix(INPUT_PREFIX) for node in graph_def.node if node.op == "Placeholder" and node.name.startswith(INPUT_PREFIX)
    )


def user_state_names(graph_def: tf.compat.v1.GraphDef) -> list[str]:
    """Names of the nodes of the user state, in order."""
    names = {node.name for node in graph_def.node}
    number = 0
    while f"user_state_{number}" in names:
        number += 1
    return [f"user_state_{i}" for i in range(number)]
