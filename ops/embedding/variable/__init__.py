"""Tables of rows for arbitrary keys, with filters, eviction, and checkpoints that fit any capacity: `docs/embedding_variable.md`."""

from __future__ import annotations

from ops.embedding.variable import eager_slots  # noqa: F401 (for what importing it does)
from ops.embedding.variable.by_name import get_embedding_variable
from ops.embedding.variable.embedding_variable import EmbeddingVariable, Export
from ops.embedding.variable.options import (
    CBFFilter,
    CounterFilter,
    EmbeddingVariableOption,
    GlobalStepEvict,
    InitializerOption,
    L2WeightEvict,
    StorageOption,
    StorageType,
)

__all__ = [
    "CBFFilter",
    "CounterFilter",
    "EmbeddingVariable",
    "EmbeddingVariableOption",
    "Export",
    "GlobalStepEvict",
    "InitializerOption",
    "L2WeightEvict",
    "StorageOption",
    "StorageType",
    "get_embedding_variable",
]
