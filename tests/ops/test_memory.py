"""The memory of pairs against dictionaries, one history place after the other."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ops import scoring

pytestmark = pytest.mark.skipif(not scoring.available(), reason="the native library is not built; run `make install`")

DTYPES = {
    "item_sources": np.int64,
    "category_sources": np.int64,
    "item_positions": np.int64,
    "table_row_splits": np.int64,
    "table_positions": np.int32,
    "table_values": np.float32,
    "decay": np.float32,
    "rule_scale": np.float32,
    "category_weight": np.float32,
    "category_scale": np.float32,
    "category_gain": np.float32,
    "own": np.float32,
    "gain": np.float32,
}
User = tuple[list[int], list[float]]
CATEGORIES = {"category_weight": 0.25, "category_scale": 50.0, "category_gain": 0.4}


def call(inputs: Mapping[str, Any]) -> list[User]:
    """Positions and values, user by user."""
    outputs = scoring.pair_memory(**{name: tf.constant(value, DTYPES[name]) for name, value in inputs.items()})
    splits, positions, values = (output.numpy() for output in outputs)
    assert splits[0] == 0
    assert splits[-1] == len(positions) == len(values)
    return [(positions[a:b].tolist(), values[a:b].tolist()) for a, b in pairwise(splits)]


def remembered(inputs: Mapping[str, Any], user: int) -> dict[int, float]:
    """The oracle: value by position."""
    table: list[list[tuple[int, np.float32]]] = []
    for begin, end in pairwise(inputs["table_row_splits"]):
        table.append(list(zip(inputs["table_positions"][begin:end], np.float32(inputs["table_values"][begin:end]), strict=True)))
    places = [
        place
        for place in zip(*(inputs[name][user] for name in ("item_sources", "category_sources", "item_positions")), strict=True)
        if place[0] > 0
    ]
    ages = range(len(places) - 1, -1, -1)
    weights = np.array([float(np.float32(inputs["decay"])) ** age for age in ages])
    reached: dict[int, np.float32] = {}
    shared: dict[int, np.float32] = {}
    of_category = np.float32(inputs["category_weight"])
    own: dict[int, float] = {}
    for (item, category, position), age, weight in zip(places, ages, np.float32(weights / weights.sum()), strict=True):
        for target, value in table[item]:
            reached[target] = np.float32(reached.get(target, np.float32(0)) + weight * value)
        for target, value in table[category] if category else []:
            reached[target] = np.float32(reached.get(target, np.float32(0)) + weight * of_category * value)
            shared[target] = np.float32(shared.get(target, np.float32(0)) + value / np.float32(len(places)))
        if position >= 0:
            own[position] = inputs["own"][min(age, len(inputs["own"]) - 1)]
    scale, gain = float(np.float32(inputs["rule_scale"])), inputs["gain"]
    category_scale, category_gain = (float(np.float32(inputs[name])) for name in ("category_scale", "category_gain"))
    return {
        p: gain[p] * np.log1p(scale * float(reached.get(p, 0)))
        + category_gain * np.log1p(category_scale * float(shared.get(p, 0)))
        + own.get(p, 0.0)
        for p in reached.keys() | own.keys()
    }


def make_inputs(*, batch: int, width: int, sources: int, items: int, longest: int, seed: int, **scalars: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest + 1, size=sources)
    item_sources = rng.integers(0, sources, size=(batch, width))
    item_sources[rng.random(batch) < 0.2] = 0
    return (
        {
            "item_sources": item_sources,
            "category_sources": rng.integers(0, sources, size=(batch, width)),
            "item_positions": rng.integers(-1, items, size=(batch, width)),
            "table_row_splits": np.concatenate([[0], np.cumsum(lengths)]),
            "table_positions": rng.integers(0, items, size=lengths.sum()),
            "table_values": rng.choice([0.0, 0.125, 0.5, 1.0, 3.0], size=lengths.sum()),
            "gain": rng.normal(size=items).astype(np.float32),
            "decay": 0.9,
            "rule_scale": 20.0,
            "own": [-1.0, 0.5, 2.0],
        }
        | CATEGORIES
        | scalars
    )


@settings(max_examples=60, deadline=None)
@example(batch=1, width=0, sources=2, items=1, longest=3, seed=0, decay=1.0, rule_scale=1.0, **CATEGORIES, own=[0.0])
@example(batch=0, width=3, sources=2, items=4, longest=3, seed=0, decay=1.0, rule_scale=1.0, **CATEGORIES, own=[0.0])
@example(batch=40, width=50, sources=30, items=300, longest=60, seed=1, decay=0.95, rule_scale=30.0, **CATEGORIES, own=[-2.0, -1.0, 1.0])
@example(batch=2, width=50, sources=60, items=200_000, longest=60, seed=2, decay=0.95, rule_scale=30.0, **CATEGORIES, own=[-2.0, -1.0, 1.0])
@given(
    batch=st.integers(1, 6),
    width=st.integers(1, 12),
    sources=st.integers(1, 9),
    items=st.integers(1, 12),
    longest=st.integers(0, 6),
    seed=st.integers(0, 2**31),
    decay=st.sampled_from([1.0, 0.9, 0.5, 1e-30]),
    rule_scale=st.sampled_from([0.0, 0.1, 100.0]),
    category_weight=st.sampled_from([0.0, 0.5, 2.0]),
    category_scale=st.sampled_from([0.0, 1.0, 1e5]),
    category_gain=st.sampled_from([0.0, 0.5, -1.0]),
    own=st.lists(st.floats(-4, 4, width=16), min_size=1, max_size=4),
)
def test_equals_dictionaries(**drawn: Any) -> None:
    inputs = make_inputs(**drawn)
    users = call(inputs)
    assert len(users) == drawn["batch"]
    for user, (positions, values) in enumerate(users):
        expected = remembered(inputs, user)
        assert sorted(positions) == sorted(expected)
        np.testing.assert_allclose(values, [expected[position] for position in positions], rtol=3e-6, atol=1e-6)
        order = [(-value, position) for value, position in zip(values, positions, strict=True)]
        assert order == sorted(order)


EXAMPLE = {
    "item_sources": [[0, 1, 2, 0, 1], [0, 0, 0, 0, 0]],
    "category_sources": [[3, 0, 3, 3, 0], [3, 3, 3, 3, 3]],
    "item_positions": [[4, 0, 1, 4, 0], [4, 4, 4, 4, 4]],
    "table_row_splits": [0, 1, 3, 4, 5],
    "table_positions": [3, 1, 2, 2, 5],
    "table_values": [9.0, 1.0, 0.0, 7.0, 3.5],
    "decay": 0.5,
    "rule_scale": 3.0,
    "category_weight": 0.5,
    "category_scale": 2.0,
    "category_gain": 0.5,
    "own": [-1.0, 10.0],
    "gain": [1.0, 1.0, 1.0, 1.0, 1.0, 2.0],
}


def test_by_hand() -> None:
    """Three present places, weights 1/7, 2/7 and 4/7: item 1 twice, item 2 with category row 3 between."""
    (positions, values), nobody = call(EXAMPLE)
    assert nobody == ([], [])
    reached = {1: 5 / 7, 2: 2.0, 5: 0.5}  # position 3 stands in row 0, and 4 only where nothing stands
    category = 0.5 * np.log1p(2 * 3.5 / 3)  # one place of three has one
    expected = {0: -1.0, 1: np.log1p(3 * reached[1]) + 10, 2: np.log1p(3 * reached[2]), 5: 2 * np.log1p(3 * reached[5]) + category}
    assert positions == [1, 5, 2, 0]
    np.testing.assert_allclose(values, [expected[position] for position in positions], rtol=1e-6)


def test_the_op_of_earlier_graphs_sums_items_and_categories() -> None:
    inputs = make_inputs(batch=20, width=10, sources=30, items=100, longest=9, seed=4, category_weight=1.0, category_gain=0.0)
    earlier = {name: tf.constant(inputs[name], dtype) for name, dtype in DTYPES.items() if not name.startswith("category_")}
    categories = tf.constant(inputs["category_sources"], tf.int64)
    splits, positions, values = scoring._library().nann_pair_memory(category_sources=categories, **earlier)
    found = [(positions[a:b].numpy().tolist(), values[a:b].numpy().tolist()) for a, b in pairwise(splits.numpy())]
    assert found == call(inputs)


def test_equal_values_lower_position_first() -> None:
    flat = EXAMPLE | {"gain": [0.0, -0.0, 0.0, 0.0, 0.0, -1e-30], "own": [0.0], "category_gain": 0.0}
    assert call(flat)[0][0] == [0, 1, 2, 5]
    assert call(flat | {"own": [2.0]})[0] == ([0, 1, 2, 5], [2.0, 2.0, 0.0, pytest.approx(0, abs=1e-29)])


def test_users_apart_have_the_same_memory() -> None:
    """Neither the batch nor what a thread did before changes a value."""
    inputs = make_inputs(batch=64, width=20, sources=40, items=500, longest=50, seed=3)
    together = call(inputs)
    for user in range(64):
        alone = inputs | {name: inputs[name][user : user + 1] for name in ("item_sources", "category_sources", "item_positions")}
        assert call(alone) == [together[user]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"item_sources": [[0, 1, 4, 0, 1], [0] * 5]}, r"item_sources must be in 0\.\.3, got 4 \(user 0\)"),
        ({"item_sources": [[0] * 5, [0, 0, -1, 0, 0]]}, r"item_sources must be in 0\.\.3, got -1 \(user 1\)"),
        ({"category_sources": [[0] * 5, [0, 2**40, 0, 0, 0]]}, r"category_sources must be in 0\.\.3, got 1099511627776"),
        ({"category_sources": [[0, 0, -7, 0, 0], [0] * 5]}, r"category_sources must be in 0\.\.3, got -7"),
        ({"item_positions": [[0, 0, 6, 0, 0], [0] * 5]}, r"item_positions must be in -1\.\.5, got 6"),
        ({"item_positions": [[0, 0, -2, 0, 0], [0] * 5]}, r"item_positions must be in -1\.\.5, got -2"),
        ({"item_positions": [[0] * 5]}, "must be"),
        ({"item_sources": [0] * 5}, "must be"),
        ({"table_row_splits": [0, 4, 3, 4, 5]}, "table_row_splits must ascend from 0 to at most 5, got 4 and 3 for row 1"),
        ({"table_row_splits": [0, 1, 3, 4, 6]}, "got 4 and 6 for row 3"),
        ({"table_row_splits": [0, -1, 3, 4, 5]}, "got -1 and 3 for row 1"),
        ({"table_row_splits": [0]}, r"table_row_splits must be \[S \+ 1\] with S at least 1, got \[1\]"),
        ({"table_positions": [3, 1, 2, 6, 5]}, r"table_positions must be in 0\.\.5, got 6 in row 2"),
        ({"table_positions": [3, 1, 2, -1, 5]}, r"table_positions must be in 0\.\.5, got -1 in row 2"),
        ({"table_positions": [3, 1]}, "must be"),
        ({"table_values": [9.0, float("nan"), 0.0, 7.0, 3.5]}, "the memory must be finite, got nan at position 1"),
        ({"table_values": [9.0, -100.0, 0.0, 7.0, 3.5]}, "the memory must be finite, got -?nan at position 1"),
        ({"decay": 0.0}, "decay must be above 0 and at most 1, got 0"),
        ({"decay": 1.5}, "decay must be above 0 and at most 1, got 1.5"),
        ({"decay": float("nan")}, "decay must be above 0 and at most 1, got nan"),
        ({"decay": [0.5]}, r"decay must be a scalar, got shape \[1\]"),
        ({"category_gain": [0.5]}, r"category_gain must be a scalar, got shape \[1\]"),
        ({"category_weight": -0.5}, "category_weight must be at least 0 and finite, got -0.5"),
        ({"category_scale": float("nan")}, "category_scale must be at least 0 and finite, got nan"),
        ({"category_gain": float("inf")}, "category_gain must be finite, got inf"),
        ({"rule_scale": -1.0}, "rule_scale must be at least 0 and finite, got -1"),
        ({"rule_scale": float("inf")}, "rule_scale must be at least 0 and finite, got inf"),
        ({"own": []}, r"own must be \[R\] with R at least 1, got \[0\]"),
        ({"own": [float("inf")]}, "the memory must be finite, got inf"),
        ({"gain": []}, r"got 0 \(user 0\)|got 4 \(user 0\)"),
        ({"gain": [[1.0]]}, r"gain must be \[N\]"),
        ({"gain": [1.0, float("nan"), 1.0, 1.0, 1.0, 1.0]}, "the memory must be finite, got nan at position 1: gain nan"),
    ],
)
def test_what_is_out_of_range_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(EXAMPLE | changed)
    assert call(EXAMPLE)[0][0] == [1, 5, 2, 0]  # the thread's scratch memory is as it was


def test_shapes_are_inferred() -> None:
    history = [tf.TensorSpec([4, None], tf.int64)] * 3

    @tf.function(input_signature=history)
    def traced(items: tf.Tensor, categories: tf.Tensor, positions: tf.Tensor) -> Any:
        constants = {name: tf.constant(EXAMPLE[name], dtype) for name, dtype in list(DTYPES.items())[3:]}
        return scoring.pair_memory(item_sources=items, category_sources=categories, item_positions=positions, **constants)

    shapes = [output.shape.as_list() for output in traced.get_concrete_function().outputs]
    assert shapes == [[5], [None], [None]]
