"""Feature columns: those of `ops.embedding.columns`, and all of `tf.compat.v1.feature_column` beside them."""

from __future__ import annotations

import tensorflow as _tf

from ops.embedding.columns import (
    CategoricalColumn,
    EmbeddingColumn,
    InputLayer,
    LinearModel,
    SequenceInput,
    categorical_column_with_adaptive_embedding,
    categorical_column_with_embedding,
    embedding_column,
    input_from_feature_columns,
    input_layer,
    linear_model,
    sequence_input_layer,
    shared_embedding_columns,
    sparse_column_with_embedding,
    weighted_categorical_column,
)

_stock = _tf.compat.v1.feature_column
bucketized_column = _stock.bucketized_column
categorical_column_with_hash_bucket = _stock.categorical_column_with_hash_bucket
categorical_column_with_identity = _stock.categorical_column_with_identity
categorical_column_with_vocabulary_file = _stock.categorical_column_with_vocabulary_file
categorical_column_with_vocabulary_list = _stock.categorical_column_with_vocabulary_list
crossed_column = _stock.crossed_column
indicator_column = _stock.indicator_column
make_parse_example_spec = _stock.make_parse_example_spec
numeric_column = _stock.numeric_column
sequence_categorical_column_with_hash_bucket = _stock.sequence_categorical_column_with_hash_bucket
sequence_categorical_column_with_identity = _stock.sequence_categorical_column_with_identity
sequence_categorical_column_with_vocabulary_file = _stock.sequence_categorical_column_with_vocabulary_file
sequence_categorical_column_with_vocabulary_list = _stock.sequence_categorical_column_with_vocabulary_list
sequence_numeric_column = _stock.sequence_numeric_column

__all__ = [
    "CategoricalColumn",
    "EmbeddingColumn",
    "InputLayer",
    "LinearModel",
    "SequenceInput",
    "bucketized_column",
    "categorical_column_with_adaptive_embedding",
    "categorical_column_with_embedding",
    "categorical_column_with_hash_bucket",
    "categorical_column_with_identity",
    "categorical_column_with_vocabulary_file",
    "categorical_column_with_vocabulary_list",
    "crossed_column",
    "embedding_column",
    "indicator_column",
    "input_from_feature_columns",
    "input_layer",
    "linear_model",
    "make_parse_example_spec",
    "numeric_column",
    "sequence_categorical_column_with_hash_bucket",
    "sequence_categorical_column_with_identity",
    "sequence_categorical_column_with_vocabulary_file",
    "sequence_categorical_column_with_vocabulary_list",
    "sequence_input_layer",
    "sequence_numeric_column",
    "shared_embedding_columns",
    "sparse_column_with_embedding",
    "weighted_categorical_column",
]
