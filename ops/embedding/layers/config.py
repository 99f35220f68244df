"""Options of tables as plain values, for the config of a layer, and back."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import init_ops, init_ops_v2

from ops.embedding.variable import options

_CLASSES: dict[str, Any] = {
    name: value for name, value in vars(options).items() if dataclasses.is_dataclass(value) and value.__module__ == options.__name__
}
_INITIALIZERS: dict[str, Any] = {  # TensorFlow's own, which Keras does not know
    f"{generation}.{name}": value
    for generation, module, base in (("v1", init_ops, init_ops.Initializer), ("v2", init_ops_v2, init_ops_v2.Initializer))
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
}


def to_config(value: Any) -> Any:
    """An option, or a value in one, as JSON knows it."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: to_config(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"option": type(value).__name__, **fields}
    if isinstance(value, type) and value in _INITIALIZERS.values():
        value = value()  # TensorFlow takes the class, too
    known = [name for name, initializer in _INITIALIZERS.items() if type(value) is initializer]
    if known:
        return {"initializer": known[0], "arguments": {name: np.asarray(held).tolist() for name, held in value.get_config().items()}}
    return tf.keras.utils.serialize_keras_object(value) if callable(value) else value


def from_config(value: Any) -> Any:
    """What `to_config` was given."""
    if isinstance(value, dict) and "option" in value:
        return _CLASSES[value["option"]](**{name: from_config(held) for name, held in value.items() if name != "option"})
    if isinstance(value, dict) and "arguments" in value:
        return _INITIALIZERS[value["initializer"]].from_config(value["arguments"])
    return tf.keras.utils.deserialize_keras_object(value) if isinstance(value, dict) else value
