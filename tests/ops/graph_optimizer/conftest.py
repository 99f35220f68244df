"""Graphs that score rows of (user, item), and the comparison that every rewriting must stand: with repeated user rows, equal outputs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ops import graph_optimizer

v1 = tf.compat.v1
SIZES = {
    "scalar": (3, 4),
    "one item": (3, 1),
    "none each": (3, 0),
    "one": (3, [4]),
    "each": (3, [4, 4, 4]),
    "ragged": (4, [3, 1, 7, 2]),
    "zeros": (5, [0, 3, 0, 5, 0]),
    "one user": (1, [6]),
    "nothing": (2, [0, 0]),
}


def weights(*shape: int, seed: int = 0) -> tf.Tensor:
    values = np.random.default_rng([seed, *shape]).normal(size=shape) / np.sqrt(shape[0])
    return tf.constant(values.astype(np.float32))


@dataclass
class Model:
    """A graph, its inputs and how to draw values for them: name -> function of (rng, rows)."""

    graph_def: Any
    users: dict[str, Callable[[np.random.Generator, int], np.ndarray]]
    items: dict[str, Callable[[np.random.Generator, int], np.ndarray]]
    outputs: Sequence[str] = ("scores",)
    options: dict[str, Any] = field(default_factory=dict)


def build(function: Callable[[], None], users: dict, items: dict, **more: Any) -> Model:
    with tf.Graph().as_default() as graph:
        function()
    return Model(graph.as_graph_def(), users, items, **more)


def floats(*shape: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda rng, rows: rng.normal(size=(rows, *shape)).astype(np.float32)


def ids(limit: int, *shape: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda rng, rows: rng.integers(0, limit, size=(rows, *shape))


@contextmanager
def opened(graph_def: Any) -> Iterator[Callable[[Sequence[str], dict[str, Any]], list[np.ndarray]]]:
    """A function from names of outputs, and values of inputs, to the outputs' values; one session for all its calls."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with v1.Session(graph=graph) as session:
        yield lambda fetches, feeds: session.run([f"{name}:0" for name in fetches], {f"{name}:0": value for name, value in feeds.items()})


def run(graph_def: Any, fetches: Sequence[str], feeds: dict[str, Any]) -> list[np.ndarray]:
    with opened(graph_def) as ask:
        return ask(fetches, feeds)


def counts_of(users: int, item_size: Any) -> np.ndarray:
    return np.broadcast_to(np.asarray(item_size).reshape(-1), [users])


def assert_equal_to_repeated_rows(model: Model, compressed: Any, *, sizes: Sequence[str] = tuple(SIZES), rtol: float = 1e-5) -> None:
    with opened(model.graph_def) as ask, opened(compressed) as ask_compressed:
        for name in sizes:
            users, item_size = SIZES[name]
            counts = counts_of(users, item_size)
            rng = np.random.default_rng(7)
            user_values = {key: draw(rng, users) for key, draw in model.users.items()}
            item_values = {key: draw(rng, int(counts.sum())) for key, draw in model.items.items()}
            repeated = {key: np.repeat(value, counts, axis=0) for key, value in user_values.items()}
            expected = ask(model.outputs, {**repeated, **item_values})
            found = ask_compressed(model.outputs, {**user_values, **item_values, "item_size": np.asarray(item_size, np.int32)})
            for a, b in zip(found, expected, strict=True):
                assert a.shape == b.shape, name
                np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6, err_msg=name)


def compress_model(model: Model, **options: Any) -> tuple[Any, Any]:
    return graph_optimizer.compress(
        model.graph_def,
        user_inputs=list(model.users),
        item_inputs=list(model.items),
        outputs=list(model.outputs),
        **{**model.options, **options},
    )


def products_on_rows(graph_def: Any) -> dict[str, str]:
    """Matrix products of a graph: name -> "users" or "rows", by what they depend on."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    rows: set[str] = set()
    found = {}
    for op in graph.get_operations():
        if op.name.endswith("user_of_row") or any(tensor.op.name in rows for tensor in op.inputs):
            rows.add(op.name)
        if op.type in {"MatMul", "BatchMatMulV2"}:
            found[op.name] = "rows" if op.name in rows else "users"
    return found


@pytest.fixture(scope="session")
def kit() -> Any:
    """The functions above: tests are no packages, so they cannot be imported."""

    class Kit:
        pass

    for function in (weights, Model, build, floats, ids, run, counts_of, assert_equal_to_repeated_rows, compress_model, products_on_rows):
        setattr(Kit, function.__name__, staticmethod(function))
    Kit.SIZES = SIZES
    return Kit
