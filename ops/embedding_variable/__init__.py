"""Tables of rows for arbitrary keys, with filters, eviction, and checkpoints that fit any capacity: `docs/embedding_variable.md`."""

from __future__ import annotations

from ops.embedding_variable.options import (
    CBFFilter,
    CounterFilter,
    EmbeddingVariableOption,
    GlobalStepEvict,
    InitializerOption,
    L2WeightEvict,
    StorageOption,
)
from ops.embedding_variable.variable import OWNER, EmbeddingVariable, Export

__all__ = [
    "OWNER",
    "CBFFilter",
    "CounterFilter",
    "EmbeddingVariable",
    "EmbeddingVariableOption",
    "Export",
    "GlobalStepEvict",
    "InitializerOption",
    "L2WeightEvict",
    "StorageOption",
]
