"""Compressed graphs against the same graphs fed with repeated user rows, and what the rewriting promises of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ops import graph_optimizer

v1 = tf.compat.v1
MANY = 100_000  # items per user for which even these small graphs are worth rewriting


def mlp(kit: Any) -> Any:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 6], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        hidden = tf.nn.relu(user @ kit.weights(6, 16) + kit.weights(16))
        joined = tf.concat([hidden, item], axis=1)
        hidden = tf.nn.relu(joined @ kit.weights(21, 8) + kit.weights(8))
        tf.squeeze(hidden @ kit.weights(8, 1), axis=1, name="scores")

    return kit.build(graph, {"user": kit.floats(6)}, {"item": kit.floats(5)})


def attention(kit: Any) -> Any:
    def graph() -> None:
        sequence, item = v1.placeholder(tf.float32, [None, 7, 6], name="user"), v1.placeholder(tf.float32, [None, 6], name="item")
        keys, query = sequence @ kit.weights(6, 16), tf.nn.relu(item @ kit.weights(6, 16))
        by_product = tf.nn.softmax(tf.matmul(query[:, tf.newaxis, :], keys, transpose_b=True) / 4.0)
        by_sum = tf.nn.softmax(tf.reduce_sum(query[:, tf.newaxis, :] * keys, axis=-1))
        interests = [
            tf.squeeze(by_product @ sequence, axis=1),
            tf.reduce_sum(by_sum[:, :, tf.newaxis] * sequence, axis=1),
            tf.einsum("bl,bld->bd", by_sum, sequence),
            item,
        ]
        hidden = tf.nn.relu(tf.concat(interests, axis=1) @ kit.weights(24, 8))
        tf.squeeze(hidden @ kit.weights(8, 1), axis=1, name="scores")

    return kit.build(graph, {"user": kit.floats(7, 6)}, {"item": kit.floats(6)})


def two_towers(kit: Any) -> Any:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 6], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        tower = tf.nn.tanh(tf.nn.relu(user @ kit.weights(6, 32)) @ kit.weights(32, 8))
        tf.reduce_sum(tower * (item @ kit.weights(5, 8)), axis=1, name="scores")

    return kit.build(graph, {"user": kit.floats(6)}, {"item": kit.floats(5)})


def shared_embeddings(kit: Any) -> Any:
    def graph() -> None:
        user, item = v1.placeholder(tf.int64, [None, 4], name="user"), v1.placeholder(tf.int64, [None], name="item")
        table = kit.weights(50, 8)
        history = tf.reduce_mean(tf.gather(table, user), axis=1)
        joined = tf.concat([history, tf.gather(table, item)], axis=-1)
        tf.squeeze(tf.nn.relu(joined @ kit.weights(16, 16)) @ kit.weights(16, 1), axis=1, name="scores")

    return kit.build(graph, {"user": kit.ids(50, 4)}, {"item": kit.ids(50)})


def shapes_inside(kit: Any) -> Any:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 4, 3], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        rows = tf.shape(user)[0]
        flat = tf.reshape(user, [-1, 3]) @ kit.weights(3, 16)
        back = tf.reshape(flat, [rows, 4 * 16])
        state = tf.tanh(tf.zeros([rows, 64]) + back)
        bias = tf.tile(kit.weights(1, 64), [rows, 1])
        projected = tf.tensordot(user, kit.weights(3, 16), axes=[[2], [0]])
        joined = tf.concat([state + bias, tf.reduce_max(projected, axis=1), item], axis=1)
        tf.divide(tf.squeeze(joined @ kit.weights(85, 1), axis=1), tf.cast(rows, tf.float32) + 1.0, name="scores")

    return kit.build(graph, {"user": kit.floats(4, 3)}, {"item": kit.floats(5)})


def layers_of_keras_form(kit: Any) -> Any:
    """Dense layers on three axes, layer normalisation, multi-head self-attention on the user's side."""

    def graph() -> None:
        sequence, item = v1.placeholder(tf.float32, [None, None, 8], name="user"), v1.placeholder(tf.float32, [None, 8], name="item")
        shape = [tf.shape(sequence)[0], tf.shape(sequence)[1], 2, 4]

        def head(seed: int) -> tf.Tensor:
            projected = tf.tensordot(sequence, kit.weights(8, 8, seed=seed), [[2], [0]])
            return tf.transpose(tf.reshape(projected, shape), [0, 2, 1, 3])

        heads = [head(seed) for seed in range(3)]
        mixed = tf.matmul(tf.nn.softmax(tf.matmul(heads[0], heads[1], transpose_b=True)), heads[2])
        mixed = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, tf.shape(sequence)[1], 8])
        mean, variance = tf.nn.moments(mixed, axes=[-1], keepdims=True)
        normed = (mixed - mean) * tf.math.rsqrt(variance + 1e-3)
        query = tf.einsum("bd,de->be", item, kit.weights(8, 8))
        weights = tf.nn.softmax(tf.einsum("bld,bd->bl", normed, query))
        tf.reduce_sum(tf.einsum("bl,bld->bd", weights, normed) * item, axis=-1, name="scores")

    return kit.build(graph, {"user": lambda rng, rows: rng.normal(size=(rows, 5, 8)).astype(np.float32)}, {"item": kit.floats(8)})


def query_layers(kit: Any) -> Any:
    """Queries out of linear layers, with and without a bias, in front of the user's matrix: the layers go to the user's side."""

    def graph() -> None:
        sequence, item = v1.placeholder(tf.float32, [None, 7, 6], name="user"), v1.placeholder(tf.float32, [None, 6], name="item")
        keys, hidden = sequence @ kit.weights(6, 16), tf.nn.relu(item @ kit.weights(6, 8))
        query = hidden @ kit.weights(8, 16) + kit.weights(16)
        first = tf.squeeze(tf.matmul(query[:, tf.newaxis, :], keys, transpose_b=True), axis=1)
        second = tf.reduce_sum(tf.expand_dims(query, 1) * keys, axis=-1)
        third = tf.einsum("bl,bml->bm", hidden @ kit.weights(8, 16, seed=1), keys)
        fourth = tf.squeeze(tf.matmul(keys, query[:, :, tf.newaxis]), axis=-1)
        tf.reduce_sum(tf.nn.softmax(first) + tf.tanh(second) + tf.tanh(third) + fourth, axis=-1, name="scores")

    return kit.build(graph, {"user": kit.floats(7, 6)}, {"item": kit.floats(6)})


def layers_behind(kit: Any) -> Any:
    """Linear layers that read attention over the user's sequence: alone, beside item and user parts, with transposed weights."""

    def graph() -> None:
        sequence, item = v1.placeholder(tf.float32, [None, 7, 24], name="user"), v1.placeholder(tf.float32, [None, 24], name="item")
        profile = tf.nn.relu(tf.reduce_mean(sequence, axis=1) @ kit.weights(24, 5))
        weights = tf.nn.softmax(tf.matmul(sequence, (item @ kit.weights(24, 24))[:, :, tf.newaxis]), axis=1)
        alone = tf.einsum("bl,bld->bd", tf.squeeze(weights, axis=-1), sequence) @ kit.weights(24, 8)
        interest = tf.squeeze(tf.matmul(weights, sequence, transpose_a=True), axis=1)
        beside = tf.concat([profile, interest, item, profile], axis=1) @ kit.weights(58, 8)
        summed = tf.reduce_sum(weights * sequence, axis=1)
        transposed = tf.matmul(tf.concat([summed, item], axis=-1), kit.weights(8, 48), transpose_b=True)
        tf.reduce_sum(tf.tanh(alone) + tf.tanh(beside) + tf.tanh(transposed), axis=1, name="scores")

    return kit.build(graph, {"user": kit.floats(7, 24)}, {"item": kit.floats(24)})


MODELS = [query_layers, layers_behind, mlp, attention, two_towers, shared_embeddings, shapes_inside, layers_of_keras_form]


@pytest.mark.parametrize("min_items_per_user", [0, MANY])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_equals_the_graph_with_repeated_rows(kit: Any, model: Any, min_items_per_user: int) -> None:
    made = model(kit)
    before = made.graph_def.SerializeToString(deterministic=True)
    compressed, report = kit.compress_model(made, min_items_per_user=min_items_per_user)
    assert report.compressed
    assert not report.fallbacks
    kit.assert_equal_to_repeated_rows(made, compressed)
    assert made.graph_def.SerializeToString(deterministic=True) == before, "the input is not modified"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_uniform_equals_the_graph_with_repeated_rows_and_searches_nothing(kit: Any, model: Any) -> None:
    made = model(kit)
    compressed, _ = kit.compress_model(made, min_items_per_user=MANY, uniform=True)
    kit.assert_equal_to_repeated_rows(made, compressed, sizes=["scalar", "one item", "none each"])
    assert not {"UpperBound", "LowerBound", "Cumsum"} & {node.op for node in compressed.node}
    feeds = {name: draw(np.random.default_rng(0), 3) for name, draw in {**made.users, **made.items}.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="item_size adds up to"):
        kit.run(compressed, ["scores"], {**feeds, "item_size": 2})


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_second_application_changes_nothing(kit: Any, model: Any) -> None:
    made = model(kit)
    once, _ = kit.compress_model(made, min_items_per_user=0)
    twice, report = kit.compress_model(kit.Model(once, made.users, made.items), min_items_per_user=0)
    assert twice == once
    assert "before" in report.reason


def test_the_users_products_run_on_one_row_per_user(kit: Any) -> None:
    made = mlp(kit)
    compressed, report = kit.compress_model(made, min_items_per_user=0)
    with tf.Graph().as_default() as graph, v1.Session() as session:
        tf.import_graph_def(compressed, name="")
        products = [op for op in graph.get_operations() if op.type == "MatMul"]
        rng = np.random.default_rng(0)
        feeds = {"user:0": rng.normal(size=(2, 6)), "item:0": rng.normal(size=(12, 5)), "item_size:0": [6]}
        rows = {op.name: value.shape[0] for op, value in zip(products, session.run([op.outputs[0] for op in products], feeds), strict=True)}
    assert sorted(rows.values()) == [2, 2, 12, 12], rows
    assert rows["matmul"] == 2
    assert report.split == ["matmul_1"]
    predicted = report.predict(users=2, items_per_user=6)
    assert predicted["flops_after"] < 0.5 * predicted["flops_before"]


def test_attention_does_not_copy_the_sequence(kit: Any) -> None:
    compressed, report = kit.compress_model(attention(kit), min_items_per_user=0)
    assert len(report.batched) == 5
    with tf.Graph().as_default() as graph, v1.Session() as session:
        tf.import_graph_def(compressed, name="")
        gathers = [op.outputs[0] for op in graph.get_operations() if op.type == "GatherV2" and "/expand" in op.name]
        feeds = {"user:0": np.zeros((2, 7, 6)), "item:0": np.zeros((12, 6)), "item_size:0": [6]}
        assert all(value.ndim < 3 for value in session.run(gathers, feeds)), "no [R, L, D]"


def products_of_items(graph_def: Any) -> int:
    """Matrix products that run on item rows."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    of_items, count = {"item"}, 0
    for op in graph.get_operations():
        if any(tensor.op.name in of_items for tensor in op.inputs):
            of_items.add(op.name)
            count += op.type == "MatMul"
    return count


@pytest.mark.parametrize(("model", "products", "folded"), [(query_layers, 3, 2), (layers_behind, 4, 3)], ids=["before", "behind"])
def test_linear_layers_go_to_the_user_where_enough_items_pay_for_it(kit: Any, model: Any, products: int, folded: int) -> None:
    few, report = kit.compress_model(model(kit), min_items_per_user=0)
    assert products_of_items(few) == products
    assert len(report.batched) == 4
    many, expected = kit.compress_model(model(kit), min_items_per_user=MANY)
    assert products_of_items(many) == folded
    before, after = report.predict(1, MANY), expected.predict(1, MANY)
    assert after["flops_after"] < before["flops_after"]


def test_a_known_batch_size_is_no_obstacle(kit: Any) -> None:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [12, 6], name="user"), v1.placeholder(tf.float32, [12, 5], name="item")
        hidden = tf.nn.relu(user @ kit.weights(6, 16))
        tf.reduce_sum(tf.concat([hidden, item], axis=1) @ kit.weights(21, 4), axis=1, name="scores")

    made = kit.build(graph, {"user": kit.floats(6)}, {"item": kit.floats(5)})
    compressed, _ = kit.compress_model(made, min_items_per_user=0)
    rng = np.random.default_rng(0)
    user, item = rng.normal(size=(3, 6)), rng.normal(size=(12, 5))
    [found] = kit.run(compressed, ["scores"], {"user": user, "item": item, "item_size": 4})
    [expected] = kit.run(made.graph_def, ["scores"], {"user": np.repeat(user, 4, axis=0), "item": item})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_outputs_of_the_user_alone_come_once_per_row(kit: Any) -> None:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 6], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        tf.matmul(user, kit.weights(6, 4), name="vector")
        tf.identity(item, name="scores")

    made = kit.build(graph, {"user": kit.floats(6)}, {"item": kit.floats(5)}, outputs=("scores", "vector"))
    compressed, _ = kit.compress_model(made, min_items_per_user=0)
    kit.assert_equal_to_repeated_rows(made, compressed)
    assert kit.products_on_rows(compressed) == {"vector/value": "users"}


def test_item_size_that_does_not_fit_is_an_error(kit: Any) -> None:
    compressed, _ = kit.compress_model(mlp(kit), min_items_per_user=0)
    feeds = {"user": np.zeros((2, 6)), "item": np.zeros((1, 5)), "item_size": [3, 4]}
    with pytest.raises(tf.errors.InvalidArgumentError, match="item_size adds up to"):
        kit.run(compressed, ["scores"], feeds)


def test_the_graph_is_left_alone_where_it_would_lose(kit: Any) -> None:
    def graph() -> None:
        user, item = v1.placeholder(tf.int64, [None], name="user"), v1.placeholder(tf.float32, [None, 64], name="item")
        wide = tf.cast(tf.expand_dims(user, -1), tf.float32) * kit.weights(64)
        tf.add(wide, item, name="scores")

    made = kit.build(graph, {"user": kit.ids(9)}, {"item": kit.floats(64)})
    kept, report = kit.compress_model(made)
    assert not report.compressed
    assert "slower" in report.reason
    assert kept == made.graph_def
    forced, report = kit.compress_model(made, min_items_per_user=0)
    assert report.compressed
    kit.assert_equal_to_repeated_rows(made, forced)


def test_loads_in_a_fresh_process(kit: Any, tmp_path: Path, fork_server: Any) -> None:
    compressed, _ = kit.compress_model(attention(kit), min_items_per_user=0)
    (tmp_path / "graph.pb").write_bytes(compressed.SerializeToString())
    code = """
import sys, numpy as np, tensorflow as tf
graph_def = tf.compat.v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    tf.import_graph_def(graph_def, name="")
    print(session.run("scores:0", {"user:0": np.ones((2, 7, 6)), "item:0": np.ones((5, 6)), "item_size:0": [2, 3]}).shape)
"""
    done = fork_server.run(code, str(tmp_path / "graph.pb"))
    assert done.stdout.strip() == "(5,)", done.stderr


def test_batch_normalisation_with_averages_and_a_custom_name(kit: Any) -> None:
    def graph() -> None:
        user, item = v1.placeholder(tf.float32, [None, 6], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        image = tf.reshape(user, [-1, 1, 1, 6])
        normed, _, _ = v1.nn.fused_batch_norm(
            image, kit.weights(6), kit.weights(6, seed=1), kit.weights(6, seed=2), tf.ones(6), is_training=False
        )
        hidden = tf.reshape(normed, [-1, 6]) @ kit.weights(6, 16)
        tf.reduce_sum(tf.concat([hidden, item], axis=1) @ kit.weights(21, 4), axis=1, name="scores")

    made = kit.build(graph, {"user": kit.floats(6)}, {"item": kit.floats(5)})
    compressed, _ = graph_optimizer.compress(
        made.graph_def, user_inputs=["user"], item_inputs=["item"], outputs=["scores"], item_size="per_user", min_items_per_user=0
    )
    assert [node.op for node in compressed.node if node.name == "per_user"] == ["Placeholder"]
    assert kit.products_on_rows(compressed)["matmul"] == "users"
