"""``inputs.json`` of a converted model: what its graph reads in a request beside the history's items, and how values are told by rows.

Per input, in order of name: ``side`` ("history" or "user"), ``signature_key``, ``tensor``, ``dtype`` ("int64") and ``shape`` of what is
fed (null: any), ``axes``, and ``values``, the text of each row from row 1 on, or null where the numbers are unix seconds. A model that
reads items and categories alone has no such file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from nann.contents import opening, read_json
from nann.dataset import Dataset
from nann.dataset.inputs import INPUT_PREFIX, RequestInput
from nann.errors import ArtifactError, NannError
from nann.forms import ServedInput

INPUTS_NAME = "inputs.json"
AXES = {"history": ["users", "history, oldest first, beside item_ids"], "user": ["users", "values of the user, in any order"]}


def write_served_inputs(directory: Path, dataset: Path, inputs: Mapping[str, RequestInput]) -> None:
    """Writes the description of a model's inputs; nothing without any.

    Args:
        directory: of the converted model.
        dataset: the artifact of `convert` the model was trained on.
        inputs: of the model.
    """
    if not inputs:
        return
    described = Dataset(dataset).choose_inputs(sorted(inputs))
    content = {
        name: {
            "side": inputs[name].side,
            "signature_key": name,
            "tensor": f"{INPUT_PREFIX}{name}:0",
            "dtype": "int64",
            "shape": [None, None],
            "axes": AXES[inputs[name].side],
            "values": _values(dataset, name) if inputs[name].side == "user" else entry.get("values"),
        }
        for name, entry in described.items()
    }
    (directory / INPUTS_NAME).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def served_inputs(directory: Path) -> dict[str, dict[str, Any]]:
    """The inputs of a converted model; empty without any."""
    path = directory / INPUTS_NAME
    if not path.is_file():
        return {}
    served: dict[str, dict[str, Any]] = read_json(path, dict[str, ServedInput], "the inputs of a model", step="rewrite")
    return served


def unknown_inputs(inputs: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, npt.NDArray[np.int64]]:
    """What a request says of inputs of which nothing is known: zeros [B, L] by name."""
    return {name: np.zeros(shape, np.int64) for name in inputs}


def rows_of_text(served: Mapping[str, dict[str, Any]], given: Mapping[str, Sequence[str]], length: int) -> dict[str, npt.NDArray[np.int64]]:
    """A request's inputs for one user as the graph takes them.

    Args:
        served: of `served_inputs`.
        given: text of the values by name; inputs left out, and values the model does not know, are unknown to it.
        length: items of the history.

    Returns:
        [1, *] int64 per input of the model.

    Raises:
        NannError: an input is none of the model's, or is not given once per item, or a time is no integer.
    """
    for name in given:
        if name not in served:
            raise NannError(f"the model reads no input {name!r}, it reads {', '.join(served) or 'items alone'}; leave it out")
    rows = {}
    for name, entry in served.items():
        texts, of_history = list(given.get(name, ())), entry["side"] == "history"
        if of_history and texts and len(texts) != length:
            raise NannError(f"{name} has {len(texts)} values, the history {length} items; give one per item, oldest first")
        if entry["values"] is None:
            try:
                values = [int(text) for text in texts]
            except ValueError as error:
                raise NannError(f"{name} takes unix seconds, whole numbers ({error})") from error
        else:
            row_of = {value: row for row, value in enumerate(entry["values"], 1)}
            values = [row_of.get(text, 0) for text in texts]
        empty = length if of_history else 1
        rows[name] = np.array([values or [0] * empty], np.int64)
    return rows


def _values(dataset: Path, name: str) -> list[str]:
    with opening(dataset / "user_feature_values.parquet", "the values of users' features", step="convert"):
        table = pq.read_table(dataset / "user_feature_values.parquet", filters=[("feature", "=", name)]).to_pylist()
        values = {int(row["value_row"]): str(row["value"]) for row in table}
    if sorted(values) != list(range(1, len(values) + 1)):
        raise ArtifactError(
            f"{dataset / 'user_feature_values.parquet'} must hold rows 1..{len(values)} of {name}; run `nann convert` again"
        )
    return [values[row] for row in sorted(values)]
