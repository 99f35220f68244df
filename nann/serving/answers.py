"""Answers of TensorFlow Serving's REST interface."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from nann.serving.opened import OpenedModel


def answer(outputs: Mapping[str, NDArray[Any]], *, by_row: bool) -> bytes:
    """The body of an answer: ``predictions``, one object per user, or ``outputs``, lists of all users by name.

    A score of -inf, of an item that was not found, is written as ``-Infinity``, as TensorFlow Serving does.
    """
    columns = {name: _listed(values) for name, values in sorted(outputs.items())}
    if not by_row:
        return json.dumps({"outputs": columns}).encode()
    users = len(next(iter(columns.values())))
    return json.dumps({"predictions": [{name: values[user] for name, values in columns.items()} for user in range(users)]}).encode()


def _listed(values: NDArray[Any]) -> list[Any]:
    if values.dtype != object:
        found: list[Any] = values.tolist()
        return found
    flat = [_text(value) for value in values.ravel().tolist()]
    return np.array(flat, object).reshape(values.shape).tolist()  # type: ignore[no-any-return]


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")


def metadata(model: OpenedModel, name: str) -> dict[str, Any]:
    """What ``GET .../metadata`` answers: the version and its signatures."""
    signatures = {
        key: json_format.MessageToDict(signature, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for key, signature in sorted(model.signatures.items())
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(model.place.version)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def status(version: int, failed: tuple[int, str] | None) -> dict[str, Any]:
    """What ``GET /v1/models/NAME`` answers: the version that is served, and one that did not load, or why its tables are not used."""
    found = [_state(version, "AVAILABLE", "OK", failed[1] if failed is not None and failed[0] == version else "")]
    if failed is not None and failed[0] != version:
        found.insert(0, _state(failed[0], "END", "INTERNAL", failed[1]))
    return {"model_version_status": found}


def _state(version: int, state: str, code: str, message: str) -> dict[str, Any]:
    return {"version": str(version), "state": state, "status": {"error_code": code, "error_message": message}}
