"""Options of tables as plain values, for the config of a layer, and back."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from ops.embedding.variable import options

_CLASSES: dict[str, Any] = {
    name: value for name, value in vars(options).items() if dataclasses.is_dataclass(value) and value.__module__ == options.__name__
}


def to_config(value: Any) -> Any:
    """An option, or a value in one, as JSON knows it."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: to_config(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"option": type(value).__name__, **fields}
    return tf.keras.utils.serialize_keras_object(value) if callable(value) else value


def from_config(value: Any) -> Any:
    """What `to_config` was given."""
    if isinstance(value, dict) and "option" in value:
        return _CLASSES[value["option"]](**{name: from_config(held) for name, held in value.items() if name != "option"})
    return tf.keras.utils.deserialize_keras_object(value) if isinstance(value, dict) else value
