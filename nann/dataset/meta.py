"""The description of a dataset, ``meta.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf


def load_meta(dataset: Path) -> dict[str, Any]:
    """The dataset's ``meta.json``."""
    return dict(json.loads((dataset / "meta.json").read_text(encoding="utf-8")))


def user_id_type(meta: dict[str, Any], split: str) -> dict[str, Any]:
    """The `user_id` feature and its dtype; empty where the records have none."""
    feature = meta["features"][split].get("user_id")
    return {} if feature is None else {"user_id": tf.int64 if feature["dtype"] == "int64" else tf.string}
