"""A program for the native retrieval ops as steps and parameters, and its text (`ops/cc/tile_program.h` has the language)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf


@dataclass(eq=False)
class Instruction:
    """An instruction; operands are `Instruction`s, `Parameter`s, or None."""

    op: str
    operands: list[Any]
    numbers: tuple[int, ...] = ()
    per_user: bool = False


@dataclass(frozen=True, eq=False)
class Parameter:
    """A tensor that a program reads: [R, w] of kind "vector", [R, k, n] of "matrix", [R, n, k] of "matrix_t"; R is 1, or B if per user."""

    kind: str
    tensor: tf.Tensor
    per_user: bool
    source: tf.Tensor | None = None


def steps_of(result: Instruction) -> list[Instruction]:
    """A step and all it is made of, each after its operands."""
    order: list[Instruction] = []
    seen: set[int] = set()

    def visit(step: Instruction) -> None:
        if id(step) in seen:
            return
        seen.add(id(step))
        for operand in step.operands:
            if isinstance(operand, Instruction):
                visit(operand)
        order.append(step)

    visit(result)
    return order


def write(result: Instruction) -> tuple[str, list[tf.Tensor]]:
    """The text, and the tensors of its parameters."""
    steps = [step for step in steps_of(result) if step.op != "items"]
    numbers = {id(step): number for number, step in enumerate(steps, start=1)}
    parameters: list[Parameter] = []

    def name(operand: Any) -> str:
        if operand is None or isinstance(operand, str):
            return operand or "-"
        if isinstance(operand, Parameter):
            if operand not in parameters:
                parameters.append(operand)
            return f"p{parameters.index(operand)}"
        return f"r{numbers.get(id(operand), 0)}"

    lines = []
    for step in steps:
        operands = [*step.operands, None, None][:4] if step.op == "matmul" else step.operands
        lines.append(" ".join([step.op, name(step), *map(name, operands), *map(str, step.numbers)]))
    header = [f"param {parameter.kind}" for parameter in parameters]
    return "\n".join([*header, *lines, f"result {name(result)}"]) + "\n", [parameter.tensor for parameter in parameters]
