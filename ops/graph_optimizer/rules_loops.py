"""Rules of lists, and of control flow as functions (`While`, `If`, calls): by the body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from ops.graph_optimizer.analysis import Analysis
from ops.graph_optimizer.provenance import EXACT, Exact, Listed, Provenance, UserRows, join
from ops.graph_optimizer.rules import MixesUsers, NotProven, only_rows, rule


@rule("TensorListReserve", "EmptyTensorList", "TensorArrayV3")
def empty_list(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """No element yet."""
    if not all(isinstance(provenance, Exact) for provenance in inputs):
        raise NotProven
    return [EXACT, Listed(None)] if op.type == "TensorArrayV3" else [Listed(None)]


def _listed(rows: UserRows) -> Listed:
    """The list of a tensor's slices along axis 0."""
    if rows.axis == 0:
        raise NotProven
    return Listed(UserRows(rows.axis - 1, rows.block))


def _element(provenance: Provenance) -> UserRows:
    if not isinstance(provenance, Listed) or provenance.element is None:
        raise NotProven
    return provenance.element


@rule("TensorListFromTensor")
def list_from_tensor(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Slices along axis 0, the users behind it."""
    return [_listed(only_rows(inputs[0]))]


@rule("TensorListGetItem")
def list_get(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """One slice."""
    return [_element(inputs[0])]


@rule("TensorListSetItem", "TensorListPushBack")
def list_set(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Another slice of the same users."""
    item = only_rows(inputs[2] if op.type == "TensorListSetItem" else inputs[1])
    if inputs[0] not in (Listed(None), Listed(item)):
        raise NotProven
    return [Listed(item)]


@rule("TensorListStack")
def list_stack(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """All slices, along a new axis 0."""
    element = _element(inputs[0])
    return [UserRows(element.axis + 1, element.block)]


@rule("TensorListLength")
def list_length(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Not a matter of users."""
    return [EXACT]


@rule("TensorArraySizeV3")
def array_length(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Not a matter of users."""
    return [EXACT]


@rule("TensorArrayScatterV3", "TensorArrayWriteV3")
def array_write(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Slices written into an array of version 1."""
    _, _, value, flow = inputs
    rows = only_rows(value)
    written = _listed(rows) if op.type == "TensorArrayScatterV3" else Listed(rows)
    if flow not in (Listed(None), written):
        raise NotProven
    return [written]


@rule("TensorArrayReadV3")
def array_read(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """One slice."""
    return [_element(inputs[2])]


@rule("TensorArrayGatherV3")
def array_gather(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Slices, along a new axis 0."""
    element = _element(inputs[2])
    return [UserRows(element.axis + 1, element.block)]


def body_outputs(op: Any, attribute: str, inputs: Sequence[Provenance]) -> list[Provenance]:
    """What a function makes of deferred arguments, if it needs no expansion inside.

    Raises:
        NotProven: it needs one.
    """
    name = op.get_attr(attribute).name
    function = next((f for f in op.graph.as_graph_def().library.function if f.signature.name == name), None)
    if function is None:
        raise NotProven
    body = function_def_to_graph(function, [tensor.shape for tensor in op.inputs[len(op.inputs) - len(inputs) :]])
    seeds = {tensor.name: provenance for tensor, provenance in zip(body.inputs, inputs, strict=True) if not isinstance(provenance, Exact)}
    analysis = Analysis(body, seeds, [tensor.op for tensor in body.outputs])
    for refusal in analysis.refusals:
        raise MixesUsers(f"{refusal.op.name} in its body: {refusal.reason}")
    if analysis.boundaries:
        raise NotProven
    return [analysis.of(tensor) for tensor in body.outputs]


@rule("If", "StatelessIf")
def if_(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """Both branches make the same of their arguments."""
    if not isinstance(inputs[0], Exact):
        raise NotProven
    branches = [body_outputs(op, name, inputs[1:]) for name in ("then_branch", "else_branch")]
    if branches[0] != branches[1]:
        raise NotProven
    return branches[0]


@rule("PartitionedCall", "StatefulPartitionedCall")
def call(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """By the function's body."""
    return body_outputs(op, "f", inputs)


@rule("While", "StatelessWhile")
def while_(op: Any, inputs: Sequence[Provenance]) -> Sequence[Provenance]:
    """The body keeps what it gets: a fixed point, reached from what goes in."""
    state = list(inputs)
    for _ in range(3):
        after = body_outputs(op, "body", state)
        joined = [join(a, b) for a, b in zip(state, after, strict=True)]
        changed = joined != state
        if any(isinstance(new, Exact) and not isinstance(old, Exact) for old, new in zip(state, joined, strict=True)):
            raise NotProven
        state = joined
        if not changed:
            break
    else:
        raise NotProven
    if after != state or not isinstance(body_outputs(op, "cond", state)[0], Exact):
        raise NotProven
    return state
