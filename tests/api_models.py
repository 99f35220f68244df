"""JSON against the models of a client generated from an OpenAPI document: what the real server would not understand is refused."""

from collections.abc import Mapping
from typing import Any

PLAIN = {"str": str, "bool": bool, "int": int, "float": (int, float), "datetime": str}


class Refused(Exception):
    """A request that the real server would not understand."""


def check(value: Any, kind: str, where: str, models: Mapping[str, Any]) -> None:
    """Refuses values that are not of a type of `models`, unknown fields included."""
    if value is None or kind == "object":
        return
    if kind.startswith("list["):
        if not isinstance(value, list):
            raise Refused(f"{where} must be a list, but it is {value!r}")
        for item in value:
            check(item, kind[5:-1], where, models)
    elif kind.startswith("dict("):
        if not isinstance(value, dict):
            raise Refused(f"{where} must be an object, but it is {value!r}")
        for name, item in value.items():
            check(item, kind[5:-1].partition(", ")[2], f"{where}.{name}", models)
    elif kind in models and hasattr(models[kind], "openapi_types"):
        model = models[kind]
        if not model.openapi_types:  # an enumeration
            if value not in model.allowable_values:
                raise Refused(f"{where} must be one of {model.allowable_values}, but it is {value!r}")
            return
        if not isinstance(value, dict):
            raise Refused(f"{where} must be an object, but it is {value!r}")
        names = {model.attribute_map[name]: of for name, of in model.openapi_types.items()}
        for name, item in value.items():
            if name not in names:
                raise Refused(f"{where}: unknown field {name!r}")
            check(item, names[name], f"{where}.{name}", models)
    elif not isinstance(value, PLAIN[kind]) or (kind != "bool" and isinstance(value, bool)):
        raise Refused(f"{where} must be {kind}, but it is {value!r}")
