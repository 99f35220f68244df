"""For programs written against TensorFlow 1 with embedding fusion: change their imports, nothing else.

``from ops.v1 import tf, feature_column, feature_column_ops`` gives TensorFlow's v1 interface with `ops.feature_column` in
``tf.feature_column``, the fused lookups in ``tf.nn``, and ``tf.get_embedding_variable`` with its options. Importing this module turns graph
mode on for the whole program, as `tf.compat.v1.disable_eager_execution` does.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import tensorflow as _tensorflow

from ops import embedding, embedding_variable, feature_column

_tensorflow.compat.v1.disable_eager_execution()


class _Overlay(ModuleType):
    """A module with some attributes of its own and all others from another module."""

    def __init__(self, name: str, below: Any, **own: Any) -> None:
        super().__init__(name)
        self._below = below
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)


_v1 = _tensorflow.compat.v1
_COLUMNS = {name: getattr(feature_column, name) for name in feature_column.__all__}
feature_column_ops = SimpleNamespace(input_from_feature_columns=feature_column.input_from_feature_columns)
_LOOKUPS = {
    name: getattr(embedding, name)
    for name in (
        "embedding_lookup",
        "embedding_lookup_sparse",
        "fused_embedding_lookup_sparse",
        "fused_embedding_lookup_sparse_v2",
        "fused_safe_embedding_lookup_sparse",
        "safe_embedding_lookup_sparse",
    )
}
_VARIABLES = {name: getattr(embedding_variable, name) for name in embedding_variable.__all__}
tf = _Overlay(
    "tf",
    _v1,
    feature_column=_Overlay("tf.feature_column", _v1.feature_column, **_COLUMNS),
    nn=_Overlay("tf.nn", _v1.nn, **_LOOKUPS),
    **_VARIABLES,
)

__all__ = ["feature_column", "feature_column_ops", "tf"]
