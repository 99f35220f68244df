"""Scorers as programs against their own TensorFlow ops, and the native walk with a program against the walk in plain Python."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from ops import scoring
from ops.scoring_program import LoweringError, lower_scorer

pytestmark = pytest.mark.skipif(not scoring.available(), reason="the native library is not built; run `make install`")
DIM, LENGTH = 20, 7
Score = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def weights(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0]), tf.float32)


def frozen(score: Score) -> tf.compat.v1.GraphDef:
    def named(user: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        return tf.identity(score(user, items), name="scores")

    signature = [tf.TensorSpec([None, None, DIM], tf.float32, name=name) for name in ("user", "items")]
    traced = tf.function(named, input_signature=signature).get_concrete_function()
    return convert_variables_to_constants_v2(traced).graph.as_graph_def()


def lower(score: Score) -> Any:
    return lower_scorer(frozen(score), users=["user"], items="items", scores="scores")


def scan(score: Score, user: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lowered, count = lower(score), len(items)
    positions, scores = scoring.scan_items(
        program=lowered.program,
        parameters=lowered.parameters(tf.constant(user)),
        batch=tf.constant(len(user), tf.int64),
        top_k=tf.constant(count, tf.int64),
        item_embs=tf.constant(items),
    )
    return positions.numpy(), scores.numpy()


def matched(user: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    return tf.matmul(items, user, transpose_b=True)


def prelu(x: tf.Tensor, slopes: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(x) + slopes * tf.minimum(x, 0.0)


def two_layers(user: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    hidden = prelu(tf.matmul(items, weights(DIM, 30)) + weights(30, seed=1), weights(30, seed=2))
    attention = tf.nn.softmax(tf.matmul(hidden, weights(30, DIM, seed=3)) @ tf.linalg.matrix_transpose(user), axis=-1)
    first = tf.matmul(attention, user) + tf.matmul(items, weights(DIM, DIM, seed=4))
    return tf.squeeze(tf.matmul(tf.nn.relu(first), weights(DIM, 1, seed=5)), axis=-1) + tf.reduce_sum(
        items * user[:, 0][:, tf.newaxis], axis=-1
    )


SCORERS: dict[str, Score] = {
    "inner product": lambda u, i: tf.squeeze(tf.matmul(i, u[:, 0, :, tf.newaxis]), axis=-1),
    "two layers with attention": two_layers,
    "logsumexp and softplus": lambda u, i: tf.nn.softplus(tf.reduce_logsumexp(matched(u, i), axis=-1)),
    "sigmoid": lambda u, i: tf.reduce_sum(tf.sigmoid(matched(u, i)), axis=-1),
    "tanh": lambda u, i: tf.reduce_sum(tf.tanh(matched(u, i)), axis=2),
    "exp": lambda u, i: tf.reduce_max(tf.exp(matched(u, i)), axis=-1),
    "log": lambda u, i: tf.reduce_sum(tf.math.log(tf.square(matched(u, i)) + 0.1), axis=-1),
    "log1p": lambda u, i: tf.reduce_sum(tf.math.log1p(tf.square(matched(u, i))), axis=-1),
    "roots": lambda u, i: tf.reduce_sum(tf.sqrt(tf.square(i) + 0.1) * tf.math.rsqrt(tf.square(i) + 0.2), axis=-1),
    "quotient": lambda u, i: tf.reduce_sum(i / (tf.square(u[:, 0][:, tf.newaxis]) + 1.0), axis=-1),
    "difference and negation": lambda u, i: tf.reduce_sum(-(i - u[:, 0][:, tf.newaxis]), axis=-1),
    "leaky": lambda u, i: tf.reduce_sum(tf.nn.leaky_relu(matched(u, i), 0.3), axis=-1),
    "leaky after a product": lambda u, i: tf.reduce_sum(tf.nn.leaky_relu(tf.matmul(i, weights(DIM, 11)), 0.3), axis=-1),
    "scalars": lambda u, i: 2.0 * tf.reduce_max(i, axis=-1) + tf.reduce_sum(u[:, 0], axis=1, keepdims=True),
    "maximum with the user": lambda u, i: tf.reduce_sum(tf.maximum(i, u[:, 0][:, tf.newaxis]), axis=-1),
    "slices and concatenation": lambda u, i: tf.reduce_sum(
        tf.matmul(tf.concat([i[..., 3:9], tf.nn.relu(i), i[..., :2]], axis=-1), weights(6 + DIM + 2, 9)), axis=-1
    ),
    "selection": lambda u, i: tf.reduce_sum(tf.where(tf.math.is_finite(i), i, 0.0), axis=-1),
    "no activation between": lambda u, i: tf.reduce_sum(tf.matmul(i, weights(DIM, 17)) + tf.matmul(i, weights(DIM, 17, seed=1)), axis=2),
}


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize(("users", "count"), [(1, 48), (3, 131)])
def test_equals_the_scorers_own_ops(name: str, users: int, count: int) -> None:
    rng = np.random.default_rng(7)
    user = rng.normal(size=(users, LENGTH, DIM)).astype(np.float32)
    items = rng.normal(size=(count, DIM)).astype(np.float32)
    positions, scores = scan(SCORERS[name], user, items)
    expected = SCORERS[name](tf.constant(user), tf.tile(tf.constant(items)[tf.newaxis], [users, 1, 1])).numpy()
    np.testing.assert_array_equal(np.sort(positions, axis=1), np.tile(np.arange(count), (users, 1)))
    np.testing.assert_allclose(scores, np.take_along_axis(expected, positions, 1), rtol=2e-5, atol=2e-5)
    assert (np.diff(scores, axis=1) <= 0).all()


FUNCTIONS = {"exp": tf.exp, "sigmoid": tf.sigmoid, "tanh": tf.tanh, "softplus": tf.nn.softplus, "square": tf.square}


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(st.floats(-200, 200, width=32, allow_subnormal=False), min_size=1, max_size=99), name=st.sampled_from(list(FUNCTIONS))
)
def test_functions_over_their_range(values: list[float], name: str) -> None:
    positions, scores = scoring.scan_items(
        program=f"{name} r1 r0\nresult r1\n",
        parameters=[],
        batch=tf.constant(1, tf.int64),
        top_k=tf.constant(len(values), tf.int64),
        item_embs=tf.constant(values, tf.float32, shape=[len(values), 1]),
    )
    expected = FUNCTIONS[name](tf.constant(values, tf.float32)).numpy()[positions.numpy()[0]]
    np.testing.assert_allclose(scores.numpy()[0], expected, rtol=3e-6, atol=1e-7)


def test_products_take_in_sums_and_activations() -> None:
    program = lower(two_layers).program
    assert program.count("matmul") == 6
    assert "prelu" not in program
    assert "\nrelu" not in program
    assert "\nadd" not in program


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("Cumsum", lambda u, i: tf.reduce_sum(tf.cumsum(i, axis=2), axis=2)),
        ("Mean", lambda u, i: tf.reduce_mean(i, axis=1, keepdims=True)[..., 0] + i[..., 0]),
        ("BatchMatMulV2", lambda u, i: tf.reduce_sum(tf.matmul(i, i, transpose_b=True), axis=-1)),
    ],
)
def test_other_operations_are_named(name: str, score: Score) -> None:
    with pytest.raises(LoweringError, match=f"the scorer's {name} "):
        lower(score)


def test_ties_and_missing_items() -> None:
    items = np.zeros((5, DIM), np.float32)
    items[3] = np.nan
    lowered = lower(SCORERS["inner product"])
    positions, scores = scoring.scan_items(
        program=lowered.program,
        parameters=lowered.parameters(tf.ones([2, 1, DIM])),
        batch=tf.constant(2, tf.int64),
        top_k=tf.constant(7, tf.int64),
        item_embs=tf.constant(items),
    )
    assert positions.numpy().tolist() == [[0, 1, 2, 4, -1, -1, -1]] * 2
    assert scores.numpy().tolist() == [[0.0] * 4 + [-np.inf] * 3] * 2


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("", "no result"),
        ("jump r1 r0\nresult r1", "no such instruction"),
        ("relu r2 r0\nresult r2", "registers are written in turn"),
        ("relu r1 r1\nresult r1", "missing or not there yet"),
        ("matmul r1 r0 p0 - -\nresult r1", "missing or not there yet"),
        ("param cube\nresult r0", "a parameter is"),
        ("param vector\nmatmul r1 r0 p0 - -\nresult r1", "wrong kind"),
        ("result r0\nresult r0", "nothing may follow"),
        ("relu r1 r0\nresult r1", "20 wide, not a score"),
        ("slice r1 r0 19 2\nresult r1", "do not fit together"),
        ("param vector\nreduce_sum r1 r0\nresult r1", "has 1 parameters, got 0"),
    ],
)
def test_mistakes_in_programs_are_named(program: str, message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        scoring.scan_items(
            program=program,
            parameters=[],
            batch=tf.constant(1, tf.int64),
            top_k=tf.constant(1, tf.int64),
            item_embs=tf.zeros([2, DIM]),
        )
