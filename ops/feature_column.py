"""Feature columns with the names of the embedding interfaces of DeepRec: `ops.embedding.feature_column`."""

from __future__ import annotations

from ops.embedding.feature_column import (
    CategoricalColumn,
    EmbeddingColumn,
    categorical_column_with_adaptive_embedding,
    categorical_column_with_embedding,
    embedding_column,
    input_from_feature_columns,
    input_layer,
    sparse_column_with_embedding,
    weighted_categorical_column,
)

__all__ = [
    "CategoricalColumn",
    "EmbeddingColumn",
    "categorical_column_with_adaptive_embedding",
    "categorical_column_with_embedding",
    "embedding_column",
    "input_from_feature_columns",
    "input_layer",
    "sparse_column_with_embedding",
    "weighted_categorical_column",
]
