"""Bodies of TensorFlow Serving's REST interface as arrays: rows (``instances``) or columns (``inputs``), checked first."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.export.filter_graph import FILTERS
from nann.serving.opened import FILTERED, OpenedModel
from nann.serving.retriever import padded

SERVED = ("serving_default", "by_catalogue_id", "debug", "catalogue_rows", "filtered", "filtered_by_catalogue_id")
KEYS = {"signature_name", "instances", "inputs"}
OF_ROWS = {"item_ids", "cate_ids"}


class RequestError(Exception):
    """A request that is not answered.

    Args:
        status: HTTP status, 4xx or 503.
        message: for the client: rule, value, remedy.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class PredictRequest:
    """A request as a graph takes it.

    Attributes:
        signature: name of the signature to run.
        inputs: [B, L] int64 or bytes objects by name; rows are filled up with what the graph leaves out. ``exclude_history`` is [B] bool.
        by_row: it came as ``instances``, and is answered with ``predictions``.
        padding: what fills up the rows of each input.
        outputs: names of what was asked for, among the outputs of the signature.
    """

    signature: str
    inputs: dict[str, NDArray[Any]]
    by_row: bool
    padding: dict[str, int | bytes]
    outputs: frozenset[str]

    @property
    def users(self) -> int:
        """B."""
        return len(self.inputs["item_ids"])


@dataclass(frozen=True)
class Limits:
    """What one request may hold.

    Attributes:
        users: B.
        history: L.
    """

    users: int
    history: int


def read_request(body: bytes, model: OpenedModel, limits: Limits) -> PredictRequest:
    """Reads and checks a body.

    Raises:
        RequestError: it is no such request, or asks for more than the limits.
    """
    content = _parse(body)
    if not isinstance(content, dict):
        _refuse("the body must be a JSON object with instances or inputs")
    if unknown := sorted(set(content) - KEYS):
        _refuse(f"unknown key {_shown(unknown[0])}; a request has signature_name and instances or inputs")
    if ("instances" in content) == ("inputs" in content):
        _refuse("give either instances (a list with one entry per user) or inputs (lists of all users by name)")
    signature = content.get("signature_name", "serving_default")
    if signature not in SERVED:
        _refuse(f"signature_name must be one of {', '.join(SERVED)}, got {_shown(signature)}")
    if signature not in model.signatures:
        _refuse(f"the model has no signature {signature}, it was exported by an earlier version; rewrite it")
    asked = model.signatures[signature]
    names, by_row = set(asked.inputs), "instances" in content
    columns = _of_instances(content["instances"], names, limits) if by_row else _of_inputs(content["inputs"], names)
    if model.has_item_tables:  # what is returned is then always filtered
        signature = FILTERED.get(signature, signature)
    types = {name: info.dtype for name, info in model.signatures[signature].inputs.items()}
    users = len(columns["item_ids"])
    for name in set(types) - set(columns):
        columns[name] = [False if name == "exclude_history" else [] for _ in range(users)]
    padding = _padding(types, model)
    return PredictRequest(signature, _arrays(columns, types, model, limits, padding), by_row, padding, frozenset(asked.outputs))


def _padding(types: Mapping[str, int], model: OpenedModel) -> dict[str, int | bytes]:
    """What stands for nothing in each input: 0 among rows, and among catalogue ids one that the graph leaves out."""
    padding: dict[str, int | bytes] = dict.fromkeys(types, 0)
    if "cate_ids" not in types:
        padding |= {name: model.no_item for name in ("item_ids", "exclude_item_ids") if name in types}
        padding |= {"category_ids": model.no_category} if "category_ids" in types else {}
    return padding


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        _refuse(f"the body must be UTF-8 ({error.reason} at byte {error.start})")
    except RecursionError:
        _refuse("the body is nested too deeply")
    except ValueError as error:
        _refuse(f"the body must be JSON ({error})")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _of_instances(instances: Any, names: set[str], limits: Limits) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        _refuse("instances must be a list with one entry per user")
    if len(instances) > limits.users:  # before each is looked at
        _refuse(f"a request may hold {limits.users} users, got {len(instances)}; split it")
    columns: dict[str, list[Any]] = {name: [] for name in sorted(names)}
    for place, instance in enumerate(instances):
        if not isinstance(instance, dict) and len(names) == 1:
            instance = dict.fromkeys(names, instance)
        if not isinstance(instance, dict) or not names - set(FILTERS) <= set(instance) <= names:
            _refuse(f"instances[{place}] must be an object with {_listed(names)}")
        for name in names:
            columns[name].append(instance.get(name, False if name == "exclude_history" else []))
    return columns


def _of_inputs(inputs: Any, names: set[str]) -> dict[str, list[Any]]:
    if not isinstance(inputs, dict) and len(names) == 1:
        inputs = dict.fromkeys(names, inputs)
    if not isinstance(inputs, dict) or not names - set(FILTERS) <= set(inputs) <= names:
        _refuse(f"inputs must be an object with {_listed(names)}")
    for name, column in inputs.items():
        if not isinstance(column, list) or not column:
            _refuse(f"{name} must be a list with {'true or false' if name == 'exclude_history' else 'a list'} per user")
    return dict(inputs)


def _arrays(
    columns: Mapping[str, list[Any]],
    types: Mapping[str, int],
    model: OpenedModel,
    limits: Limits,
    padding: Mapping[str, int | bytes],
) -> dict[str, NDArray[Any]]:
    users = len(columns["item_ids"])
    if users > limits.users:
        _refuse(f"a request may hold {limits.users} users, got {users}; split it")
    rows: dict[str, list[NDArray[Any]]] = {}
    for name, column in columns.items():
        if len(column) != users:
            _refuse(f"{name} has {len(column)} users, item_ids {users}; give the same number")
        if name == "exclude_history":
            if not set(map(type, column)) <= {bool}:
                _refuse(f"exclude_history must be true or false for each user, got {_shown(column)}")
            continue
        rows[name] = [_row(name, user, values, types[name], limits) for user, values in enumerate(column)]
    of_events = {name for name in rows if name == "cate_ids" or model.inputs.get(name, {}).get("side") == "history"}
    for name in of_events:
        for user, (events, items) in enumerate(zip(rows[name], rows["item_ids"], strict=True)):
            if len(events) != len(items):
                _refuse(f"{name} of user {user} has {len(events)} values, item_ids {len(items)}; give one per item")
    if "cate_ids" in rows:
        _require_rows("item_ids", rows["item_ids"], model.num_items)
        _require_rows("cate_ids", rows["cate_ids"], 2**31 - 1)
    arrays: dict[str, NDArray[Any]] = {name: padded(found, padding[name], tf.as_dtype(types[name])) for name, found in rows.items()}
    if "exclude_history" in columns:
        arrays["exclude_history"] = np.array(columns["exclude_history"], bool)
    return arrays


def _row(name: str, user: int, values: Any, dtype: int, limits: Limits) -> NDArray[Any]:
    if not isinstance(values, list):
        _refuse(f"{name} of user {user} must be a list, got {_shown(values)}")
    if len(values) > limits.history:
        _refuse(f"{name} of user {user} has {len(values)} values, at most {limits.history} are read; send fewer")
    if tf.as_dtype(dtype) == tf.string:
        return np.array([_text(name, value) for value in values], dtype=object)
    if not set(map(type, values)) <= {int}:  # bool, float, text and null are no ids
        wrong = next(value for value in values if type(value) is not int)
        _refuse(f"{name} must hold whole numbers, got {_shown(wrong)}")
    try:
        return np.array(values, np.int64)
    except OverflowError:
        _refuse(f"{name} must hold numbers of 64 bits, got {_shown(max(values, key=abs))}")


def _text(name: str, value: Any) -> bytes:
    try:
        if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
            return base64.b64decode(value["b64"], validate=True)
        if isinstance(value, str):
            return value.encode("utf-8")
    except (binascii.Error, ValueError) as error:
        _refuse(f"{name} holds no text ({error})")
    raise RequestError(400, f"{name} must hold texts, got {_shown(value)}")


def _require_rows(name: str, rows: Sequence[NDArray[Any]], last: int) -> None:
    for row in rows:
        if len(row) and (row.min() < 0 or row.max() > last):
            wrong = int(row.min()) if row.min() < 0 else int(row.max())
            _refuse(f"{name} must be rows 0..{last} (0: nothing), got {wrong}; for catalogue ids use the signature by_catalogue_id")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str) if not isinstance(value, int) or abs(value) < 2**70 else "a huge number"
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse(message: str) -> NoReturn:
    raise RequestError(400, message)
