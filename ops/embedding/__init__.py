"""Fused embedding lookup: prune, fill, gather, clip, combine and concatenate for many features in one native op, with its gradient."""

from __future__ import annotations

from ops.embedding import layers  # noqa: F401 (lets optimizers of Keras make slots of tables that grow)
from ops.embedding.features import Feature
from ops.embedding.grouped import grouped_lookup
from ops.embedding.lookup import fused_embedding_lookup_sparse, fused_embedding_lookup_sparse_v2, fused_safe_embedding_lookup_sparse
from ops.embedding.stock_like import embedding_lookup, embedding_lookup_sparse, safe_embedding_lookup_sparse

__all__ = [
    "Feature",
    "embedding_lookup",
    "embedding_lookup_sparse",
    "fused_embedding_lookup_sparse",
    "fused_embedding_lookup_sparse_v2",
    "fused_safe_embedding_lookup_sparse",
    "grouped_lookup",
    "safe_embedding_lookup_sparse",
]
