"""Scorers as programs against their own TensorFlow ops, and the native walk with a program against the walk in plain Python."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.python.framework import op_def_registry
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


MEMORY = {
    "memory_row_splits": np.int64,
    "memory_positions": np.int64,
    "memory_values": np.float32,
    "item_scale": np.float32,
    "item_prior": np.float32,
}


class Corpus:
    """Random users, items, graph and memories. Numbers are small multiples of 1/8, so that sums are exact and ties are real."""

    def __init__(self, users: int, count: int, seed: int, *, longest: int = 6) -> None:
        rng = np.random.default_rng(seed)
        self.user = rng.integers(-3, 4, size=(users, LENGTH, DIM)).astype(np.float32)
        self.items = rng.integers(-3, 4, size=(count, DIM)).astype(np.float32)
        self.links = [[rng.integers(0, count, size=rng.integers(0, 5)).tolist() for _ in range(count)] for _ in range(2)]
        self.entries = rng.choice(count, size=min(count, 3), replace=False)
        sizes = rng.integers(0, min(longest, count) + 1, size=users)
        memories = [rng.choice(count, size=size, replace=False) for size in sizes]
        self.memory: dict[str, Any] = {
            "memory_row_splits": np.concatenate([[0], np.cumsum(sizes)]),
            "memory_positions": np.concatenate(memories),
            "memory_values": rng.integers(-80, 800, size=sizes.sum()) / 8,
            "item_scale": rng.choice([0.0, 0.5, 1.0, 2.0], size=count),
            "item_prior": rng.integers(-80, 80, size=count) / 8,
        }

    def adjusted(self, user: int) -> np.ndarray:
        memory = self.memory
        scores = memory["item_scale"] * (self.items @ self.user[user, 0]) + memory["item_prior"]
        for at in range(memory["memory_row_splits"][user], memory["memory_row_splits"][user + 1]):
            scores[memory["memory_positions"][at]] += memory["memory_values"][at]
        return scores

    def remember(self, **changed: Any) -> scoring.UserMemory:
        return scoring.UserMemory(*(tf.constant((self.memory | changed)[name], dtype) for name, dtype in MEMORY.items()))

    def search(self, score: Score, *, top_k: int, ef: list[int], rounds: list[int], **options: Any) -> tuple[np.ndarray, ...]:
        lowered = lower(score)
        outputs = scoring.beam_search(
            program=lowered.program,
            parameters=lowered.parameters(tf.constant(self.user)),
            batch=tf.constant(len(self.user), tf.int64),
            top_k=tf.constant(top_k, tf.int64),
            ef=tf.constant(ef, tf.int64),
            rounds=tf.constant(rounds, tf.int64),
            enter_points=tf.constant(self.entries, tf.int64),
            item_embs=tf.constant(self.items),
            neighbor_values=[tf.constant([link for links in level for link in links], tf.int32) for level in self.links],
            neighbor_row_splits=[tf.constant(np.cumsum([0, *map(len, level)]), tf.int64) for level in self.links],
            **options,
        )
        return tuple(output.numpy() for output in outputs[:3])

    def scan(self, score: Score, *, top_k: int, memory: scoring.UserMemory | None) -> tuple[np.ndarray, np.ndarray]:
        lowered = lower(score)
        positions, scores = scoring.scan_items(
            program=lowered.program,
            parameters=lowered.parameters(tf.constant(self.user)),
            batch=tf.constant(len(self.user), tf.int64),
            top_k=tf.constant(top_k, tf.int64),
            item_embs=tf.constant(self.items),
            memory=memory,
        )
        return positions.numpy(), scores.numpy()

    def walk(self, user: int, *, top_k: int, ef: list[int], rounds: list[int], entries: int) -> tuple[list[int], list[float], int]:
        """The oracle: a pool that is a sorted list, old ones ahead among equals."""
        scores, size = self.adjusted(user), max(top_k, *ef)
        pool: list[int] = []
        visited: set[int] = set()

        def merge(offered: list[int], width: int) -> list[int]:
            new = [position for position in dict.fromkeys(offered) if position not in visited]
            visited.update(new)
            pool[:] = sorted(pool + new, key=lambda position: -scores[position])[:size]
            return [position for position in pool[:width] if position in new]

        merge(self.entries.tolist(), 0)
        begin, end = self.memory["memory_row_splits"][user : user + 2]
        merge(self.memory["memory_positions"][begin:end][:entries].tolist(), 0)
        for level in (1, 0):
            frontier = pool[: ef[level]]
            for _ in range(rounds[level]):
                frontier = merge([link for position in frontier for link in self.links[level][position]], ef[level])
        found = pool[:top_k]
        missing = top_k - len(found)
        return found + [-1] * missing, [*scores[found].tolist(), *[-np.inf] * missing], len(visited)


@settings(max_examples=25, deadline=None)
@given(
    users=st.integers(1, 5),
    count=st.integers(1, 120),
    seed=st.integers(0, 2**31),
    top_k=st.integers(1, 9),
    ef=st.lists(st.integers(1, 9), min_size=2, max_size=2),
    rounds=st.lists(st.integers(0, 3), min_size=2, max_size=2),
    entries=st.sampled_from([0, 1, 3, 100]),
)
def test_memory_search_equals_plain_python(users: int, count: int, seed: int, entries: int, **search: Any) -> None:
    corpus = Corpus(users, count, seed)
    found = corpus.search(SCORERS["inner product"], **search, memory=corpus.remember(), memory_entries=entries)
    for user in range(users):
        expected = corpus.walk(user, **search, entries=entries)
        assert (found[0][user].tolist(), found[1][user].tolist(), found[2][user]) == expected


@settings(max_examples=25, deadline=None)
@given(users=st.integers(1, 5), count=st.integers(1, 200), seed=st.integers(0, 2**31), top_k=st.integers(1, 250))
def test_memory_scan_equals_a_full_sort(users: int, count: int, seed: int, top_k: int) -> None:
    corpus = Corpus(users, count, seed, longest=100)
    positions, scores = corpus.scan(SCORERS["inner product"], top_k=top_k, memory=corpus.remember())
    for user in range(users):
        expected = corpus.adjusted(user)
        order = np.argsort(-expected, kind="stable")[:top_k]
        missing = top_k - len(order)
        assert positions[user].tolist() == [*order, *[-1] * missing]
        assert scores[user].tolist() == [*expected[order], *[-np.inf] * missing]


@pytest.mark.parametrize("users", [1, 4, 40])
def test_an_empty_memory_changes_nothing(users: int) -> None:
    corpus = Corpus(users, 300, seed=5)
    corpus.user += np.random.default_rng(6).normal(size=corpus.user.shape).astype(np.float32)
    nothing = corpus.remember(
        memory_row_splits=np.zeros(users + 1), memory_positions=[], memory_values=[], item_scale=np.ones(300), item_prior=np.zeros(300)
    )
    search = {"top_k": 20, "ef": [30, 10], "rounds": [3, 1]}
    plain = corpus.search(two_layers, **search)
    beside = corpus.search(two_layers, **search, memory=nothing, memory_entries=50)
    assert [output.tobytes() for output in plain] == [output.tobytes() for output in beside]
    scanned = [corpus.scan(two_layers, top_k=20, memory=memory) for memory in (None, nothing)]
    assert [output.tobytes() for output in scanned[0]] == [output.tobytes() for output in scanned[1]]


@pytest.mark.parametrize("users", [1, 40])
def test_an_exhaustive_memory_search_equals_the_scan(users: int) -> None:
    corpus = Corpus(users, 150, seed=8, longest=60)
    corpus.user += np.random.default_rng(9).normal(size=corpus.user.shape).astype(np.float32)
    corpus.links[0] = [[(position + 1) % 150] for position in range(150)]
    memory = corpus.remember(item_scale=np.linspace(0.5, 2, 150))
    found = corpus.search(two_layers, top_k=150, ef=[150, 1], rounds=[150, 0], memory=memory, memory_entries=7)
    positions, scores = corpus.scan(two_layers, top_k=150, memory=memory)
    assert found[2].tolist() == [150] * users
    np.testing.assert_array_equal(found[0], positions)
    np.testing.assert_allclose(found[1], scores, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"memory_row_splits": [0, 1]}, r"memory_row_splits must be \[3\], got \[2\]"),
        ({"memory_row_splits": [1, 1, 2]}, "memory_row_splits must begin with 0, got 1"),
        ({"memory_row_splits": [0, 3, 2]}, "memory_row_splits must not descend, got 3 and then 2"),
        ({"memory_row_splits": [0, -5, 2]}, "memory_row_splits must not descend, got 0 and then -5"),
        ({"memory_row_splits": [0, 1, 3]}, "memory_row_splits must end with 2, the number of entries, got 3"),
        ({"memory_positions": [0, 9]}, r"memory_positions must be in 0\.\.8, got 9"),
        ({"memory_positions": [-1, 0]}, r"memory_positions must be in 0\.\.8, got -1"),
        ({"memory_positions": [4, 4], "memory_row_splits": [0, 0, 2]}, "user 1 has 4 twice"),
        ({"memory_values": [1.0]}, r"must be (\[2\]|equal)"),
        ({"item_scale": [1.0]}, r"must be (\[9\]|equal)"),
        ({"item_prior": np.zeros(10)}, r"must be (\[9\]|equal)"),
        ({"item_scale": np.ones(7), "item_prior": np.zeros(7)}, r"item_scale must be \[9\], got \[7\]"),
    ],
)
def test_mistakes_in_memories_are_named(changed: dict[str, Any], message: str) -> None:
    corpus = Corpus(2, 9, seed=1)
    sound = {"memory_row_splits": [0, 1, 2], "memory_positions": [4, 4], "memory_values": [1.0, 2.0]}
    search = {"top_k": 3, "ef": [3, 3], "rounds": [1, 1]}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        corpus.search(SCORERS["inner product"], **search, memory=corpus.remember(**sound | changed))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        corpus.scan(SCORERS["inner product"], top_k=3, memory=corpus.remember(**sound | changed))
    corpus.search(SCORERS["inner product"], **search, memory=corpus.remember(**sound))


def test_mistakes_in_memory_entries_are_named() -> None:
    corpus = Corpus(2, 9, seed=1)
    search = {"top_k": 3, "ef": [3, 3], "rounds": [1, 1]}
    with pytest.raises(tf.errors.InvalidArgumentError, match="memory_entries must be at least 0, got -1"):
        corpus.search(SCORERS["inner product"], **search, memory=corpus.remember(), memory_entries=-1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="memory_entries must be a scalar"):
        corpus.search(SCORERS["inner product"], **search, memory=corpus.remember(), memory_entries=[1])
    with pytest.raises(ValueError, match="memory_entries needs a memory"):
        corpus.search(SCORERS["inner product"], **search, memory_entries=3)


def test_what_is_not_a_number_is_never_found() -> None:
    corpus = Corpus(2, 9, seed=1)
    memory = corpus.remember(memory_row_splits=[0, 1, 1], memory_positions=[4], memory_values=[np.nan])
    positions, _ = corpus.scan(SCORERS["inner product"], top_k=9, memory=memory)
    assert sorted(positions[0].tolist()) == [-1, 0, 1, 2, 3, 5, 6, 7, 8]
    assert 4 in positions[1]
    found, _, scored = corpus.search(SCORERS["inner product"], top_k=9, ef=[9, 9], rounds=[9, 9], memory=memory, memory_entries=1)
    assert 4 not in found[0]
    assert scored[0] >= 4  # the entry points and the memory's item, unless that is one of them


def test_shapes_with_memory_are_inferred() -> None:
    corpus = Corpus(2, 9, seed=1)
    shapes = []

    @tf.function
    def traced() -> tf.Tensor:
        common = {
            "program": "reduce_sum r1 r0\nresult r1\n",
            "parameters": [],
            "batch": tf.constant(2, tf.int64),
            "item_embs": corpus.items,
        }
        found = scoring.scan_items(**common, top_k=tf.constant(3, tf.int64), memory=corpus.remember())
        found += scoring.beam_search(
            **common,
            top_k=tf.constant(4, tf.int64),
            ef=tf.constant([1], tf.int64),
            rounds=tf.constant([1], tf.int64),
            enter_points=tf.constant([0], tf.int64),
            neighbor_values=[],
            neighbor_row_splits=[],
            memory=corpus.remember(),
            memory_entries=2,
        )
        shapes.extend(output.shape.as_list() for output in found)
        return tf.constant(0)

    traced()
    assert shapes == [[2, 3], [2, 3], [2, 4], [2, 4], [2], [2]]


def test_ops_of_earlier_graphs_are_as_they_were() -> None:
    """SavedModels hold these by name: with other inputs they would not load."""
    found = {name: [argument.name for argument in op_def_registry.get(f"Nann>{name}").input_arg] for name in ("BeamSearch", "ScanItems")}
    assert found == {
        "BeamSearch": [
            *("batch", "top_k", "ef", "rounds", "enter_points"),
            *("item_embs", "neighbor_values", "neighbor_row_splits", "parameters"),
        ],
        "ScanItems": ["batch", "top_k", "item_embs", "parameters"],
    }
