"""Joins steps of a program that one pass over the numbers can do together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ops.tile_programs.program import Instruction, Parameter, steps_of


def joined(result: Instruction) -> Instruction:
    """The same result in fewer steps: PReLU from its parts, and sums and activations with the product before them."""
    for rule in (_join_prelu, _join_sum, _join_activation):
        steps = steps_of(result)
        uses = {id(step): 0 for step in steps}
        for step in steps:
            for operand in step.operands:
                if isinstance(operand, Instruction):
                    uses[id(operand)] += 1
        replaced: dict[int, Instruction] = {}
        for step in steps:
            step.operands = [replaced.get(id(operand), operand) for operand in step.operands]
            new = rule(step, uses)
            if new is not None:
                replaced[id(step)] = new
                uses[id(new)] = uses[id(step)]
        result = replaced.get(id(result), result)
    return result


def _either_way(step: Instruction, first: Callable[[Any], bool]) -> tuple[Any, Any] | None:
    """The two operands of a commutative step, the one that fulfils a condition ahead."""
    a, b = step.operands
    return (a, b) if first(a) else (b, a) if first(b) else None


def _join_prelu(step: Instruction, uses: dict[int, int]) -> Instruction | None:
    """relu(x) + slope * min(x, 0)"""
    if step.op != "add":
        return None
    pair = _either_way(step, lambda s: isinstance(s, Instruction) and s.op == "relu")
    if pair is None or not isinstance(pair[1], Instruction) or pair[1].op != "mul":
        return None
    scaled = _either_way(pair[1], lambda s: isinstance(s, Instruction) and s.op == "min")
    if scaled is None or not isinstance(scaled[1], Parameter):
        return None
    bounded = _either_way(scaled[0], _is_zero)
    if bounded is None or bounded[1] is not pair[0].operands[0]:
        return None
    return Instruction("prelu", [bounded[1], scaled[1]], per_user=step.per_user)


def _is_zero(operand: Any) -> bool:
    value = tf.get_static_value(operand.source) if isinstance(operand, Parameter) and operand.source is not None else None
    return value is not None and not np.any(value)


def _join_sum(step: Instruction, uses: dict[int, int]) -> Instruction | None:
    """A product and what is added to it; of two products the user's takes the other in, so that items' products stay their own."""
    if step.op != "add":
        return None

    def plain(operand: Any) -> bool:
        return isinstance(operand, Instruction) and operand.op == "matmul" and len(operand.operands) == 2 and uses.get(id(operand)) == 1

    candidates = [(a, b) for a, b in (step.operands, step.operands[::-1]) if plain(a) and (a.per_user or not b.per_user)]
    if not candidates:
        return None
    product, added = max(candidates, key=lambda pair: pair[0].per_user)
    return Instruction("matmul", [*product.operands, added], per_user=step.per_user)


def _join_activation(step: Instruction, uses: dict[int, int]) -> Instruction | None:
    if step.op not in {"relu", "prelu"}:
        return None
    product = step.operands[0]
    if product.op != "matmul" or len(product.operands) > 3 or uses.get(id(product)) != 1:
        return None
    if step.op == "prelu":
        slopes, matrix = step.operands[1], product.operands[1]
        columns = matrix.tensor.shape[1 if matrix.kind == "matrix_t" else 2]
        if not isinstance(slopes, Parameter) or slopes.tensor.shape[1] != columns or (slopes.per_user and not product.per_user):
            return None
    added = product.operands[2] if len(product.operands) == 3 else None
    return Instruction("matmul", [*product.operands[:2], added, "relu" if step.op == "relu" else step.operands[1]], per_user=step.per_user)
