"""Columns as programs mix them: growing tables beside TensorFlow's columns, kinds of features, layers as objects, and what is refused."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from ops import CounterFilter, EmbeddingVariableOption
from ops import feature_column as fc

V1 = tf.compat.v1


@pytest.fixture(autouse=True)
def quiet():
    before = V1.logging.get_verbosity()
    V1.logging.set_verbosity(V1.logging.ERROR)
    yield
    V1.logging.set_verbosity(before)


def ones(shape, dtype=tf.float32, partition_info=None):
    return tf.ones(shape, dtype)


def mixed(do_fusion=True):
    """Columns of all sorts over a few features."""
    words = fc.categorical_column_with_hash_bucket("words", 10)
    ids = fc.categorical_column_with_embedding("ids", tf.int64)
    return [
        fc.numeric_column("number"),
        fc.indicator_column(fc.categorical_column_with_vocabulary_list("words", ["a", "b"])),
        fc.embedding_column(words, 3, do_fusion=do_fusion),
        fc.embedding_column(ids, 2, initializer=ones, do_fusion=do_fusion),
        fc.embedding_column(fc.categorical_column_with_adaptive_embedding("texts", 7), 2, initializer=ones, do_fusion=do_fusion),
        *fc.shared_embedding_columns(
            [fc.categorical_column_with_embedding(name, tf.int64) for name in ("one", "other")], 2, do_fusion=do_fusion
        ),
    ]


def features(batch=3):
    rows = range(batch)
    return {
        "number": tf.reshape(tf.range(batch, dtype=tf.float32), [batch, 1]),
        "words": tf.reshape(tf.constant(["a", "", "c"][:batch], tf.string), [batch, 1]),
        "ids": tf.RaggedTensor.from_row_lengths(tf.constant([5, 7, 5][:batch], tf.int64), [1 for _ in rows]),
        "texts": tf.sparse.from_dense(tf.reshape(tf.constant(["x", "", "y"][:batch], tf.string), [batch, 1])),
        "one": tf.reshape(tf.constant([4, -1, 9][:batch], tf.int64), [batch, 1]),
        "other": tf.reshape(tf.constant([9, 4, 2][:batch], tf.int64), [batch]),
    }


def test_columns_of_all_sorts_in_one_layer_and_one_op():
    columns = mixed()
    outputs = {}
    result = fc.input_layer(features(), columns, cols_to_output_tensors=outputs).numpy()
    assert result.shape == (3, 1 + 2 + 3 + 2 + 2 + 2 + 2)
    np.testing.assert_array_equal(result, np.concatenate([outputs[column] for column in sorted(columns, key=lambda c: c.name)], axis=1))
    np.testing.assert_array_equal(outputs[columns[0]][:, 0], [0, 1, 2])
    np.testing.assert_array_equal(outputs[columns[3]], np.ones([3, 2]))
    np.testing.assert_array_equal(outputs[columns[4]], [[1, 1], [0, 0], [1, 1]])
    one, other = (outputs[column].numpy() for column in columns[-2:])
    np.testing.assert_array_equal(one[0], other[1])  # id 4 of the shared table
    np.testing.assert_array_equal(one[2], other[0])  # id 9
    assert not one[1].any()  # -1 is missing
    assert columns[-1].variable() is columns[-2].variable()
    assert columns[-1].variable().total_count() == 3
    np.testing.assert_array_equal(fc.input_layer(features(), columns), result)  # eager twice: the same tables

    @tf.function
    def layer(given):
        return fc.input_layer(given, columns, training=False)

    np.testing.assert_allclose(layer(features()), result)
    nodes = [node.op for node in layer.get_concrete_function(features()).graph.as_graph_def().node]
    assert nodes.count("Nann>FusedEmbeddingLookupResource") == 1


@pytest.mark.parametrize("do_fusion", [True, False])
def test_an_empty_batch(do_fusion):
    assert fc.input_layer(features(0), mixed(do_fusion)).shape == (0, 14)
    wide = [fc.categorical_column_with_hash_bucket("words", 10), fc.categorical_column_with_embedding("ids", tf.int64)]
    assert fc.linear_model(features(0), wide, units=2, do_fusion=do_fusion).shape == (0, 2)


@pytest.mark.parametrize("do_fusion", [True, None])
def test_a_graph_trains_saves_and_restores(do_fusion, tmp_path):
    def model():
        given = features_of_graph()
        with V1.variable_scope("deep"):
            deep = tf.reduce_sum(fc.input_layer(given, mixed(do_fusion)), axis=1)
        wide = [fc.categorical_column_with_hash_bucket("words", 10), fc.categorical_column_with_embedding("ids", tf.int64)]
        wide = fc.linear_model(given, wide, do_fusion=do_fusion)[:, 0]
        assert "linear_model/ids/weights" in {variable.op.name for variable in V1.trainable_variables()}
        return deep + wide

    with tf.Graph().as_default(), V1.Session() as session:
        V1.set_random_seed(1)
        output = model()
        train = V1.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum((output - 1.0) ** 2))
        session.run([V1.global_variables_initializer(), V1.tables_initializer()])
        losses = []
        for _ in range(5):
            session.run(train)
            losses.append(np.sum((session.run(output) - 1) ** 2))
        assert losses == sorted(losses, reverse=True)
        expected = session.run(output)
        path = V1.train.Saver().save(session, str(tmp_path / "model"))
    with tf.Graph().as_default(), V1.Session() as session:
        output = model()
        session.run([V1.global_variables_initializer(), V1.tables_initializer()])
        assert np.abs(session.run(output) - expected).max() > 1e-3
    with tf.Graph().as_default(), V1.Session() as session:
        output = model()
        session.run(V1.tables_initializer())
        saved = {name for name, _ in tf.train.list_variables(path)}
        V1.train.Saver([v for v in V1.global_variables() if v.op.name in saved]).restore(session, path)
        np.testing.assert_allclose(session.run(output), expected, rtol=1e-5)


def features_of_graph():
    """The same features, made in the current graph."""
    return {
        "number": tf.constant([[0.0], [1.0], [2.0]]),
        "words": tf.constant([["a"], [""], ["c"]]),
        "ids": tf.RaggedTensor.from_row_lengths(tf.constant([5, 7, 5], tf.int64), [1, 1, 1]),
        "texts": tf.sparse.from_dense(tf.constant([["x"], [""], ["y"]])),
        "one": tf.constant([[4], [-1], [9]], tf.int64),
        "other": tf.constant([9, 4, 2], tf.int64),
    }


def test_layers_of_tensorflow_take_our_columns():
    with tf.Graph().as_default(), V1.Session() as session:
        column = fc.embedding_column(fc.categorical_column_with_embedding("ids", tf.int64), 2, initializer=ones, do_fusion=True)
        stock = fc.embedding_column(fc.categorical_column_with_identity("one", 10, 0), 2, initializer=ones, do_fusion=True)
        given = features_of_graph()
        given["ids"] = given["ids"].to_sparse()
        output = V1.feature_column.input_layer(given, [column, stock, fc.numeric_column("number")])
        session.run(V1.global_variables_initializer())
        np.testing.assert_array_equal(session.run(output), [[1, 1, 0, 1, 1], [1, 1, 1, 0, 0], [1, 1, 2, 1, 1]])
        spec = V1.feature_column.make_parse_example_spec([column, stock])
        assert spec == {"ids": tf.io.VarLenFeature(tf.int64), "one": tf.io.VarLenFeature(tf.int64)}
        crossed = V1.feature_column.indicator_column(V1.feature_column.crossed_column([column.categorical_column, "one"], 4))
        assert session.run(V1.feature_column.input_layer(given, crossed)).sum() == 3


def test_the_weights_of_a_linear_model_grow():
    columns = [fc.categorical_column_with_embedding("ids", tf.int64), fc.numeric_column("number")]
    model = fc.LinearModel(columns, units=2, do_fusion=True)
    assert not model(features()).numpy().any()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((model(features()) - 1.0) ** 2)
    [table] = [variable for variable in tape.watched_variables() if "ids" in variable.name]
    gradient = tape.gradient(loss, table)
    assert sorted(gradient.indices.numpy().tolist()) == [1, 2]
    np.testing.assert_allclose(tf.convert_to_tensor(gradient)[1:3], [[-4, -4], [-2, -2]])
    assert any(variable is table for variable in model.trainable_variables)


def test_layers_as_objects_are_saved_and_trained(tmp_path):
    def make():
        return fc.InputLayer(mixed()), fc.LinearModel([fc.categorical_column_with_hash_bucket("words", 10), *mixed()[3:4]], do_fusion="v2")

    layer, model = make()
    first = [layer(features()), model(features())]
    for variable in (*layer.trainable_variables, *model.trainable_variables):
        variable.assign_add(tf.ones_like(variable))
    expected = [layer(features()), model(features())]
    assert all(np.abs(now - before).max() > 0.5 for now, before in zip(expected, first, strict=True))
    path = tf.train.Checkpoint(layer=layer, model=model).save(str(tmp_path / "layers"))
    for called_before in (True, False):
        other, another = make()
        if called_before:
            other(features()), another(features())
        tf.train.Checkpoint(layer=other, model=another).restore(path)
        found = [other(features(), training=False), another(features(), training=False)]
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)


def test_an_input_layer_called_twice_in_a_graph_has_one_set_of_tables():
    with tf.Graph().as_default(), V1.Session() as session:
        layer = fc.InputLayer(mixed())
        one, other = layer(features_of_graph()), layer(features_of_graph(), training=False)
        names = [variable.op.name for variable in V1.trainable_variables()]
        assert len(set(names)) == len(names) == 5
        session.run([V1.global_variables_initializer(), V1.tables_initializer()])
        session.run(one)
        np.testing.assert_array_equal(*session.run([one, other]))


def test_sequences_of_a_growing_table():
    from tensorflow.python.feature_column import feature_column_v2 as fc_v2

    column = fc.embedding_column(
        fc_v2.SequenceCategoricalColumn(fc.categorical_column_with_embedding("ids", tf.int64)), 2, initializer=ones, do_fusion=True
    )
    given = {
        "ids": tf.sparse.from_dense(tf.constant([[3, 4, 0], [4, 0, 0]], tf.int64)),
        "x": tf.sparse.from_dense([[1.0, 2.0], [3.0, 0.0]]),
    }
    tensor, lengths = fc.sequence_input_layer(given, [column, fc.sequence_numeric_column("x")])
    np.testing.assert_array_equal(lengths, [2, 1])
    np.testing.assert_array_equal(tensor, [[[1, 1, 1], [1, 1, 2], [0, 0, 0]], [[1, 1, 3], [0, 0, 0], [0, 0, 0]]])
    short = {**given, "x": tf.sparse.from_dense([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]])}
    with pytest.raises(tf.errors.InvalidArgumentError, match="differ in length"):
        fc.sequence_input_layer(short, [column, fc.sequence_numeric_column("x")])
    with pytest.raises(ValueError, match="is for sequence_input_layer"):
        fc.input_layer(given, column)


def test_a_table_starts_from_a_checkpoint(tmp_path):
    held = tf.Variable(tf.reshape(tf.range(20.0), [10, 2]))
    path = tf.train.Checkpoint(table=held).write(str(tmp_path / "held"))
    options = {"ckpt_to_load_from": path, "tensor_name_in_ckpt": "table/.ATTRIBUTES/VARIABLE_VALUE", "do_fusion": True}
    column = fc.embedding_column(fc.categorical_column_with_identity("one", 10), 2, **options)
    expected = [[8, 9], [0, 0], [18, 19]]
    np.testing.assert_array_equal(fc.input_layer(features(), column), expected)
    with tf.Graph().as_default(), V1.Session() as session:
        output = fc.input_layer(features_of_graph(), column)
        session.run(V1.global_variables_initializer())
        np.testing.assert_array_equal(session.run(output), expected)
    wrong = fc.embedding_column(fc.categorical_column_with_identity("one", 11), 2, **options)
    with pytest.raises(ValueError, match=r"has shape \(10, 2\), the column's table has \(11, 2\)"):
        fc.input_layer(features(), wrong)
    with pytest.raises(ValueError, match="grows and starts from no tensor"):
        fc.embedding_column(fc.categorical_column_with_embedding("one"), 2, **options)


def test_variables_and_scopes_of_a_graph():
    with tf.Graph().as_default():
        held, shared = {}, fc.shared_embedding_columns([fc.categorical_column_with_identity(name, 9) for name in ("one", "other")], 2)
        own = fc.embedding_column(fc.categorical_column_with_hash_bucket("words", 6), 3, do_fusion=True, trainable=False)
        with V1.variable_scope("model", partitioner=V1.fixed_size_partitioner(2)):
            fc.input_layer(features_of_graph(), [*shared, own], weight_collections=["mine"], cols_to_vars=held)
        parts = [f"model/input_layer/words_embedding/embedding_weights/part_{part}" for part in (0, 1)]
        assert [variable.op.name for variable in held[own]] == parts
        assert held[shared[0]] == held[shared[1]]
        assert {variable.op.name for variable in V1.get_collection("mine")} >= set(parts)
        assert not set(parts) & {variable.op.name for variable in V1.trainable_variables()}
        with pytest.raises(RuntimeError, match="belong to the layers"):
            own.variable()


def test_an_integer_feature_of_the_other_size_is_taken_and_counts_alike():
    column = fc.embedding_column(fc.categorical_column_with_embedding("ids", tf.int64), 2, do_fusion=True)
    one = fc.input_layer({"ids": tf.constant([[5], [7]], tf.int64)}, column)
    np.testing.assert_array_equal(one, fc.input_layer({"ids": tf.constant([[5], [7]], tf.int32)}, column))
    np.testing.assert_array_equal(column.variable().get_frequency(tf.constant([5, 7], tf.int64)), [2, 2])


def test_weights_of_growing_columns_may_be_dense_and_of_another_kind():
    column = fc.weighted_categorical_column(fc.categorical_column_with_embedding("ids", tf.int64), "w")
    embedding = fc.embedding_column(column, 1, "sum", ones, do_fusion=True)
    assert embedding.name == "ids_weighted_by_w_embedding"
    for ids in (tf.constant([[5, 6], [7, -1]], tf.int64), tf.ragged.constant([[5, 6], [7]], dtype=tf.int64)):
        for weights in (tf.constant([[1.0, 2.0], [3.0, 0.0]]), tf.ragged.constant([[1.0, 2.0], [3.0]]), tf.constant([[1, 2], [3, 0]])):
            np.testing.assert_array_equal(fc.input_layer({"ids": ids, "w": weights}, embedding), [[3], [3]])


def test_ids_that_a_filter_keeps_out_and_defaults():
    option = EmbeddingVariableOption(filter_option=CounterFilter(2))
    column = fc.embedding_column(fc.categorical_column_with_embedding("texts", ev_option=option), 4)
    given = {"texts": tf.constant([["x"], ["y"]])}
    assert not fc.input_layer(given, column).numpy().any()
    assert fc.input_layer(given, column).numpy().any()


def test_eager_linear_models_say_that_weights_are_new(caplog):
    from ops.embedding.columns.linear_model import _warn_of_new_weights

    _warn_of_new_weights.cache_clear()
    with caplog.at_level(logging.WARNING):
        fc.linear_model(features(), fc.numeric_column("number"))
    assert "make a LinearModel once" in caplog.text


def test_unsafe_lookups_refuse_what_safe_ones_prune():
    def layer(safe, do_fusion):
        vocabulary = fc.categorical_column_with_vocabulary_list("words", ["a", "b"])  # others are -1
        return fc.input_layer(features(), fc.embedding_column(vocabulary, 2, use_safe_embedding_lookup=safe, do_fusion=do_fusion))

    for do_fusion in (None, True):
        assert layer(True, do_fusion).shape == (3, 2)
        with pytest.raises(tf.errors.InvalidArgumentError):
            layer(False, do_fusion)


def test_checkpoints_of_tensorflows_columns_and_of_ours_restore_into_each_other(tmp_path):
    def model(module, **fusion):
        words = module.categorical_column_with_hash_bucket("words", 10)
        shared = module.shared_embedding_columns(
            [module.categorical_column_with_identity(name, 12, 0) for name in ("one", "other")], 2, **fusion
        )
        with V1.variable_scope("model", partitioner=V1.fixed_size_partitioner(2)):
            deep = module.input_layer(features_of_graph(), [module.embedding_column(words, 3, **fusion), *shared])
            wide = module.linear_model(features_of_graph(), [words, module.numeric_column("number")])
        train = V1.train.FtrlOptimizer(0.3).minimize(tf.reduce_sum((deep - 1.0) ** 2) + tf.reduce_sum((wide - 1.0) ** 2))
        return tf.concat([deep, wide], axis=1), train

    def run(module, restore_from, save_to, **fusion):
        with tf.Graph().as_default(), V1.Session() as session:
            output, train = model(module, **fusion)
            session.run(V1.global_variables_initializer())
            saver = V1.train.Saver()
            if restore_from:
                saver.restore(session, restore_from)
            before = session.run(output)
            session.run(train)
            return before, session.run(output), saver.save(session, str(tmp_path / save_to))

    _, first, stocks = run(V1.feature_column, None, "stock")
    restored, second, mine = run(fc, stocks, "ours", do_fusion=True)
    np.testing.assert_allclose(restored, first, rtol=1e-5)
    np.testing.assert_allclose(run(V1.feature_column, stocks, "again")[1], second, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(run(V1.feature_column, mine, "back")[0], second, rtol=1e-5)


FIRST_VERSION = """
from ops.v1 import tf
tf.disable_v2_behavior()
fc = tf.feature_column
columns = [
    fc.embedding_column(fc.categorical_column_with_hash_bucket("a", 5), 2, initializer=tf.ones_initializer(), do_fusion=True),
    fc.embedding_column(fc.categorical_column_with_embedding("b"), 2, initializer=tf.constant_initializer(2.0), do_fusion=True),
]
features = {name: tf.constant([["x", "y"], ["z", ""]]) for name in "ab"}
with tf.variable_scope("model", partitioner=tf.fixed_size_partitioner(2)):
    output = fc.input_layer(features, columns) + fc.linear_model(features, [columns[0].categorical_column], do_fusion=True)
table = tf.get_embedding_variable("c", 2, initializer=tf.ones_initializer())
output += tf.nn.embedding_lookup_sparse(table, tf.SparseTensor([[0, 0], [1, 0]], [7, 8], [2, 1]), None, combiner="sum") @ tf.ones([2, 4])
train = tf.train.AdagradOptimizer(0.1).minimize(tf.reduce_sum((output - 3.5) ** 2))
with tf.Session() as session:
    session.run([tf.global_variables_initializer(), tf.tables_initializer()])
    print(session.run(output).tolist())
    for _ in range(100):
        session.run(train)
    print(abs(session.run(output) - 3.5).max())
"""


def test_programs_that_turn_all_of_the_second_version_off(fork_server):
    run = fork_server.run(FIRST_VERSION)
    assert run.returncode == 0, run.stderr
    first, last = run.stdout.splitlines()
    assert first == "[[3.0, 3.0, 4.0, 4.0], [3.0, 3.0, 4.0, 4.0]]"
    assert float(last) < 0.1


def test_integers_of_any_size_are_keys():
    column = fc.embedding_column(fc.categorical_column_with_embedding("ids", tf.int64), 2, initializer=ones, do_fusion=True)
    for dtype in (tf.int8, tf.uint8, tf.int16, tf.uint32):
        np.testing.assert_array_equal(fc.input_layer({"ids": tf.constant([[5], [7]], dtype)}, column), np.ones([2, 2]))
    assert column.variable().export().keys.tolist() == [5, 7]


def test_a_reused_scope_has_one_table_whatever_the_column_object():
    def layer(**scope):
        column = fc.embedding_column(fc.categorical_column_with_embedding("ids", tf.int64), 2, do_fusion=True)
        with V1.variable_scope("model", **scope):
            return fc.input_layer(features_of_graph(), column)

    with tf.Graph().as_default(), V1.Session() as session:
        with pytest.raises(ValueError, match="reuse=True"):
            layer(reuse=True)
        one, other = layer(partitioner=V1.fixed_size_partitioner(2)), layer(reuse=True)
        names = [variable.op.name for variable in V1.trainable_variables()]
        assert names == [f"model/input_layer/ids_embedding/embedding_weights/part_{part}" for part in (0, 1)]
        session.run(V1.global_variables_initializer())
        session.run(one)
        np.testing.assert_array_equal(*session.run([one, other]))


def test_a_table_that_grows_is_made_outside_of_a_template():
    with tf.Graph().as_default():
        column = fc.embedding_column(fc.categorical_column_with_embedding("ids", tf.int64), 2, do_fusion=True)
        tower = V1.make_template("tower", lambda: fc.input_layer(features_of_graph(), column))
        with pytest.raises(RuntimeError, match="make it before"):
            tower()
    with tf.Graph().as_default():
        column.variable()
        tower = V1.make_template("tower", lambda: fc.input_layer(features_of_graph(), column))
        assert tower().shape[1] == tower().shape[1] == 2
        assert len(V1.trainable_variables()) == 1


def test_a_layer_exports_with_its_vocabularies(tmp_path):
    words = fc.categorical_column_with_vocabulary_list("words", ["a", "b", "c"])
    layer = fc.InputLayer([fc.embedding_column(words, 2, do_fusion=True), mixed()[3]])
    module = tf.Module()
    module.layer = layer
    specs = [tf.TensorSpec([None, 1], tf.string), tf.RaggedTensorSpec([None, None], tf.int64)]
    module.serve = tf.function(lambda words, ids: layer({"words": words, "ids": ids}, training=False), input_signature=specs)
    layer(features())
    given = [features()[name] for name in ("words", "ids")]
    expected = module.serve(*given)
    tf.saved_model.save(module, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.serve(*given), expected)


def test_an_optimizer_of_keras_trains_layers_in_a_function():
    layer, model = fc.InputLayer(mixed()), fc.LinearModel([fc.categorical_column_with_embedding("ids", tf.int64)], do_fusion=True)
    optimizer = tf.keras.optimizers.Adam(0.05)
    layer(features()), model(features())
    variables = [*layer.trainable_variables, *model.trainable_variables]

    @tf.function
    def step(given):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((tf.reduce_sum(layer(given), axis=1) + model(given)[:, 0] - [3.0, -1.0, 0.5]) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    losses = [float(step(features())) for _ in range(30)]
    assert losses[-1] < losses[0] / 10


def test_refusals():
    words = fc.categorical_column_with_hash_bucket("words", 10)
    embedding = fc.embedding_column(words, 2)
    with pytest.raises(ValueError, match="wrap a categorical column in embedding_column"):
        fc.input_layer(features(), [words])
    with pytest.raises(ValueError, match="needs a categorical column"):
        fc.embedding_column(fc.numeric_column("number"), 2)
    with pytest.raises(ValueError, match="needs a categorical column"):
        fc.embedding_column("words", 2)
    with pytest.raises(ValueError, match="'missing' is not among the given features"):
        fc.input_layer(features(), fc.embedding_column(fc.categorical_column_with_hash_bucket("missing", 5), 2))
    with pytest.raises(ValueError, match="'missing' is not among the given features"):
        fc.input_layer(features(), fc.embedding_column(fc.categorical_column_with_embedding("missing"), 2))
    with pytest.raises(ValueError, match="must be of dtype string, got int64"):
        fc.input_layer(features(), fc.embedding_column(fc.categorical_column_with_embedding("ids"), 2))
    with pytest.raises(ValueError, match="has no number of buckets"):
        fc.input_layer(features(), fc.indicator_column(fc.categorical_column_with_embedding("texts")))
    with pytest.raises(ValueError, match="do_fusion must be None, True, False or one of v1, v2, got 'v3'"):
        fc.linear_model(features(), words, do_fusion="v3")
    with pytest.raises(ValueError, match="units must be at least 1, got 0"):
        fc.linear_model(features(), words, units=0)
    with pytest.raises(ValueError, match="sparse_combiner must be one of"):
        fc.LinearModel(words, sparse_combiner="max")
    for dimension in (0, 2.0, "2", None):
        with pytest.raises(ValueError, match="dimension must be an integer of at least 1"):
            fc.embedding_column(words, dimension)
    with pytest.raises(ValueError, match="initializer must be callable"):
        fc.embedding_column(words, 2, initializer=0.5)
    with pytest.raises(ValueError, match="go together"):
        fc.embedding_column(words, 2, ckpt_to_load_from="x")
    with pytest.raises(ValueError, match="got dict"):
        fc.input_layer(features(), {"a": embedding})
    with pytest.raises(ValueError, match="at least one categorical column"):
        fc.shared_embedding_columns([], 2)
    with pytest.raises(ValueError, match="must be of one kind"):
        fc.shared_embedding_columns([words, fc.categorical_column_with_identity("one", 10)], 2)
    with pytest.raises(ValueError, match="must agree on everything"):
        fc.shared_embedding_columns([words, fc.categorical_column_with_hash_bucket("texts", 11)], 2)
    with pytest.raises(ValueError, match="is not adaptive"):
        embedding.static_table()
