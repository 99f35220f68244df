"""Sample-aware graph compression: user features and the user's part of a model are computed once per user, not once per item.

One page view gives one user and many items. A model is written for rows of (user, item); the rewritten graph takes each user once, with
`item_size` items each, and expands what it computed for the user only where it meets items. `docs/compression.md` tells how.
"""

# Importing the rules registers them; every way to the analysis goes through this file.
from ops.graph_optimizer import (
    rules_arrays,
    rules_elementwise,
    rules_loops,
    rules_picking,
    rules_products,
    rules_reductions,
    rules_sparse,
)
from ops.graph_optimizer.compression import compress
from ops.graph_optimizer.enabling import apply, compressed, enable_sample_awared_graph_compression, freeze
from ops.graph_optimizer.errors import GraphCompressionError
from ops.graph_optimizer.inputs import RaggedInput, SparseInput
from ops.graph_optimizer.precompute import PrecomputeReport, precompute_items
from ops.graph_optimizer.report import CompressionReport
from ops.graph_optimizer.session import session_config

RULE_MODULES = (rules_arrays, rules_elementwise, rules_loops, rules_picking, rules_products, rules_reductions, rules_sparse)

__all__ = [
    "CompressionReport",
    "GraphCompressionError",
    "PrecomputeReport",
    "RaggedInput",
    "SparseInput",
    "apply",
    "compress",
    "compressed",
    "enable_sample_awared_graph_compression",
    "freeze",
    "precompute_items",
    "session_config",
]
