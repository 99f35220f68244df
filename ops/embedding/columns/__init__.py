"""Feature columns and their layers with the names of TensorFlow 1 and DeepRec: `docs/embedding.md`.

Two generations of names lead to the same columns: `categorical_column_with_embedding`, `embedding_column`, `input_layer`, and
`sparse_column_with_embedding`, `embedding_column(sparse_id_column=)`, `input_from_feature_columns`. ``do_fusion`` None looks up with stock
ops; "v1", "v2" and True take part in one grouped native op.
"""

from __future__ import annotations

from ops.embedding.columns.categorical import (
    CategoricalColumn,
    categorical_column_with_adaptive_embedding,
    categorical_column_with_embedding,
    sparse_column_with_embedding,
    weighted_categorical_column,
)
from ops.embedding.columns.embedding import EmbeddingColumn, embedding_column, shared_embedding_columns
from ops.embedding.columns.input_layer import SequenceInput, input_from_feature_columns, input_layer, sequence_input_layer
from ops.embedding.columns.layers import InputLayer, LinearModel
from ops.embedding.columns.linear_model import linear_model

__all__ = [
    "CategoricalColumn",
    "EmbeddingColumn",
    "InputLayer",
    "LinearModel",
    "SequenceInput",
    "categorical_column_with_adaptive_embedding",
    "categorical_column_with_embedding",
    "embedding_column",
    "input_from_feature_columns",
    "input_layer",
    "linear_model",
    "sequence_input_layer",
    "shared_embedding_columns",
    "sparse_column_with_embedding",
    "weighted_categorical_column",
]
