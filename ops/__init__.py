"""Building blocks for TensorFlow, usable without the rest: embedding lookup, sparse optimizers, native record encoding."""

from __future__ import annotations

import importlib
from typing import Any

# Imported on first use: `ops.records` and the loader are needed where TensorFlow is not.
_LAZY = {
    "CBFFilter": "ops.embedding.variable",
    "CounterFilter": "ops.embedding.variable",
    "EmbeddingVariable": "ops.embedding.variable",
    "EmbeddingVariableOption": "ops.embedding.variable",
    "GlobalStepEvict": "ops.embedding.variable",
    "InitializerOption": "ops.embedding.variable",
    "L2WeightEvict": "ops.embedding.variable",
    "StorageOption": "ops.embedding.variable",
    "StorageType": "ops.embedding.variable",
    "embedding_lookup": "ops.embedding",
    "embedding_lookup_sparse": "ops.embedding",
    "fused_embedding_lookup_sparse": "ops.embedding",
    "fused_embedding_lookup_sparse_v2": "ops.embedding",
    "fused_safe_embedding_lookup_sparse": "ops.embedding",
    "get_embedding_variable": "ops.embedding.variable",
    "safe_embedding_lookup_sparse": "ops.embedding",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ops' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
