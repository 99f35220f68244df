"""The strings in `NodeDef.input`: "node", "node:output number", or "^node" for a control input."""

from __future__ import annotations

from collections.abc import Mapping


def node_of(name: str) -> str:
    """The node that an input, or a tensor name, refers to."""
    return name.removeprefix("^").partition(":")[0]


def is_control(name: str) -> bool:
    """Whether an input only waits for its node."""
    return name.startswith("^")


def tensor_name(name: str) -> str:
    """The tensor name of a node's first output; a tensor name as it is."""
    return name if ":" in name else f"{name}:0"


def renamed(name: str, nodes: Mapping[str, str]) -> str:
    """An input whose node has a new name, old name -> new name; the output number or the mark of a control input stays."""
    node = node_of(name)
    return name.replace(node, nodes[node], 1) if node in nodes else name
