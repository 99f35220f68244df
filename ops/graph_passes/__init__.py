"""Passes over frozen graphs: each takes a GraphDef and gives an equivalent one; `run_passes` checks and reports them."""

from ops.graph_passes.activations import shorten_prelu
from ops.graph_passes.folding import fold_batch_norms, fold_constants
from ops.graph_passes.precision import half_precision, int8_precision
from ops.graph_passes.running import PassError, PassReport, run_passes
from ops.graph_passes.tidying import merge_common_subexpressions, remove_dead_nodes, remove_identities

__all__ = [
    "PassError",
    "PassReport",
    "fold_batch_norms",
    "fold_constants",
    "half_precision",
    "int8_precision",
    "merge_common_subexpressions",
    "remove_dead_nodes",
    "remove_identities",
    "run_passes",
    "shorten_prelu",
]
