"""For programs written against TensorFlow 1 with embedding fusion: change their imports, nothing else.

``from ops.v1 import tf, feature_column, feature_column_ops`` gives TensorFlow's v1 interface with `ops.feature_column` in
``tf.feature_column``. Importing this module turns graph mode on for the whole program, as `tf.compat.v1.disable_eager_execution` does.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import tensorflow as _tensorflow

from ops import feature_column

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
tf = _Overlay("tf", _v1, feature_column=_Overlay("tf.feature_column", _v1.feature_column, **_COLUMNS))

__all__ = ["feature_column", "feature_column_ops", "tf"]
