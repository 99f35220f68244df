"""`get_embedding_variable`, its options, lookups that take the variable as their table, and the optimizers it trains with."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import ops
from ops.embedding.update import FusedAdagrad, FusedFtrl, FusedLazyAdamW, FusedSgd

V1 = tf.compat.v1
KEYS = 12


@pytest.fixture
def variable():
    """A variable of the keys 0..11, of which 11 has no row, and their rows [11, 3]."""
    made = ops.get_embedding_variable("emb", 3, ev_option=ops.EmbeddingVariableOption(filter_option=ops.CounterFilter(2)))
    keys = tf.range(KEYS, dtype=tf.int64)
    made.rows_of(tf.concat([keys, keys[:-1]], axis=0))
    made.table.assign(tf.random.stateless_normal(tf.shape(made.table), [1, 2]))
    assert made.total_count() == KEYS - 1
    return made


IDS = [[3, 4, 3], [], [10], [0, 7, 2, 2]]
WEIGHTS = [[0.5, 2.0, 1.0], [], [3.0], [-1.0, 1.5, 0.0, 2.0]]
LOOKUPS = {
    "safe": (ops.safe_embedding_lookup_sparse, V1.nn.safe_embedding_lookup_sparse),
    "sparse": (ops.embedding_lookup_sparse, V1.nn.embedding_lookup_sparse),
    "fused": (ops.fused_safe_embedding_lookup_sparse, V1.nn.safe_embedding_lookup_sparse),
    "fused v2": (ops.fused_embedding_lookup_sparse_v2, V1.nn.embedding_lookup_sparse),
}


@pytest.mark.parametrize("name", LOOKUPS)
@pytest.mark.parametrize("combiner", ["mean", "sum", "sqrtn"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_variable_as_params_is_like_a_table_of_its_rows(variable, name, combiner, weighted):
    mine, stock = LOOKUPS[name]
    held = tf.Variable(variable.export().values)
    ids = tf.ragged.constant(IDS, dtype=tf.int64)
    weights = tf.ragged.constant(WEIGHTS) if weighted else None
    sparse = (ids.to_sparse(), None if weights is None else weights.to_sparse())
    with tf.GradientTape(persistent=True) as tape:
        expected = stock(held, *sparse, combiner=combiner, max_norm=1.0)
        for given in (sparse, (ids, weights)):
            found = mine(variable, *given, combiner=combiner, max_norm=1.0)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    gradient = tf.convert_to_tensor(tape.gradient(found, variable.table))[1:KEYS]
    np.testing.assert_allclose(gradient, tf.convert_to_tensor(tape.gradient(expected, held)), rtol=1e-5, atol=1e-6)


def test_a_row_for_each_id_of_any_shape(variable):
    ids = tf.constant([[3, 11, 0], [999, -5, 3]], tf.int64)  # 11 is not admitted, 999 and -5 are not known
    values = variable.export().values
    for call in (ops.embedding_lookup, tf.function(lambda params, ids, training: ops.embedding_lookup(params, ids, training=training))):
        with tf.GradientTape() as tape:
            found = (
                call(variable, ids, training=False)
                if call is ops.embedding_lookup
                else tf.function(lambda: ops.embedding_lookup([variable], ids, training=False))()
            )
            loss = tf.reduce_sum(found)
        np.testing.assert_array_equal(found[0], [values[3], np.zeros(3), values[0]])
        np.testing.assert_array_equal(found[1], [np.zeros(3), np.zeros(3), values[3]])
        gradient = tape.gradient(loss, variable.table)
        assert sorted(set(gradient.indices.numpy().tolist())) == [1, 4]  # no zero gradient for a row that was not looked up
    assert variable.total_count() == KEYS - 1
    assert ops.embedding_lookup(variable, tf.zeros([0, 4], tf.int64)).shape == (0, 4, 3)
    ops.embedding_lookup(variable, tf.constant([11]))
    assert variable.total_count() == KEYS


def test_the_default_id_is_a_key(variable):
    values = variable.export().values
    ids = tf.ragged.constant([[3], [], [-1]], dtype=tf.int64)
    for lookup in (ops.safe_embedding_lookup_sparse, ops.fused_safe_embedding_lookup_sparse):
        np.testing.assert_allclose(lookup(variable, ids, default_id=7), values[[3, 7, 7]])
        np.testing.assert_allclose(lookup(variable, ids), [values[3], np.zeros(3), np.zeros(3)])
    weights = tf.ragged.constant([[2.0], [], [1.0]])
    np.testing.assert_allclose(ops.safe_embedding_lookup_sparse(variable, ids, weights, default_id=7), values[[3, 7, 7]], rtol=1e-6)
    texts = ops.get_embedding_variable("texts", 2, key_dtype=tf.string, initializer=tf.ones_initializer())
    found = ops.safe_embedding_lookup_sparse(texts, tf.ragged.constant([["a"], []]), default_id="unknown")
    np.testing.assert_array_equal(found, np.ones([2, 2]))
    assert texts.export().keys.tolist() == [b"a", b"unknown"]


def test_negative_ids_are_keys_where_they_are_not_pruned():
    variable = ops.get_embedding_variable("emb", 2, initializer=tf.ones_initializer())
    ids = tf.ragged.constant([[-3, -3], [4]], dtype=tf.int64)
    np.testing.assert_array_equal(ops.fused_embedding_lookup_sparse_v2(variable, ids), np.ones([2, 2]))
    np.testing.assert_array_equal(ops.fused_embedding_lookup_sparse(variable, ids, prune_invalid_ids=True), [[0, 0], [1, 1]])
    assert variable.export().keys.tolist() == [-3, 4]


def test_other_tables_are_tensorflows():
    table = tf.reshape(tf.range(12.0), [6, 2])
    ids = tf.sparse.from_dense(tf.constant([[1, 2], [3, 0]], tf.int64))
    np.testing.assert_array_equal(ops.embedding_lookup(table, [5, 0]), table.numpy()[[5, 0]])
    np.testing.assert_array_equal(ops.embedding_lookup_sparse(table, ids, combiner="sum"), [[6, 8], [6, 7]])
    np.testing.assert_array_equal(ops.safe_embedding_lookup_sparse(table, ids, None, "sum"), [[6, 8], [6, 7]])
    for name in ("embedding_lookup", "embedding_lookup_sparse", "safe_embedding_lookup_sparse"):
        theirs = list(inspect.signature(getattr(V1.nn, name)).parameters)
        assert list(inspect.signature(getattr(ops, name)).parameters) == [*theirs, "training"]
    np.testing.assert_array_equal(ops.embedding_lookup_sparse(table, ids, combiner="sum", allow_fast_lookup=True), [[6, 8], [6, 7]])


def test_scopes_reuse_and_partitioners_of_a_graph():
    with tf.Graph().as_default():
        with V1.variable_scope("model", partitioner=V1.fixed_size_partitioner(3)):
            made = ops.get_embedding_variable("emb", 4)
            with pytest.raises(ValueError, match="'model/emb' exists already"):
                ops.get_embedding_variable("emb", 4)
        assert [table.op.name for table in made.tables] == [f"model/emb/part_{part}" for part in range(3)]
        with V1.variable_scope("model", reuse=True):
            assert ops.get_embedding_variable("emb", 4) is made
            with pytest.raises(ValueError, match="'model/other' does not exist"):
                ops.get_embedding_variable("other", 4)
            with pytest.raises(ValueError, match=r"has \(dim, dtype, key_dtype\)"):
                ops.get_embedding_variable("emb", 5)
        with V1.variable_scope("model", reuse=V1.AUTO_REUSE), tf.name_scope("elsewhere"):
            other = ops.get_embedding_variable("other", 4, trainable=False, collections=["mine"])
            assert ops.get_embedding_variable("other", 4) is other
        assert other.table.op.name == "model/other"
        assert V1.get_collection("mine") == [other.table]
        assert other.table not in V1.trainable_variables()
    with tf.Graph().as_default():
        assert ops.get_embedding_variable("model/emb", 4) is not made


def test_the_initializer_of_the_option_or_of_the_scope():
    with tf.Graph().as_default(), V1.Session() as session:
        with V1.variable_scope("model", initializer=V1.constant_initializer(2.0)):
            scoped = ops.get_embedding_variable("scoped", 2)
            option = ops.EmbeddingVariableOption(init_option=ops.InitializerOption(V1.constant_initializer(3.0)))
            own = ops.get_embedding_variable("own", 2, ev_option=option)
        found = [ops.embedding_lookup(variable, tf.constant([5], tf.int64)) for variable in (scoped, own)]
        session.run(V1.global_variables_initializer())
        assert session.run(found)[0].tolist() == [[2, 2]]
        assert session.run(found)[1].tolist() == [[3, 3]]


INITIALIZERS = {
    **{
        f"v1 {name}": getattr(V1, f"{name}_initializer")
        for name in ("zeros", "ones", "random_uniform", "random_normal", "truncated_normal")
    },
    **{f"v1 {name}": getattr(V1, f"{name}_initializer") for name in ("glorot_uniform", "variance_scaling", "orthogonal")},
    "v1 constant": lambda: V1.constant_initializer(2.0),
    "v1 constant row": lambda: V1.constant_initializer([1.0, 2.0, 3.0]),
    "constant": lambda: tf.constant_initializer(2.0),
    "class": lambda: tf.ones_initializer,
    **{f"keras {name}": getattr(keras.initializers, name) for name in ("Zeros", "RandomNormal", "GlorotUniform", "HeNormal", "Orthogonal")},
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_rows_start_from_any_initializer(name):
    """In eager mode, in a function and in a graph, for some new keys and for none."""
    option = ops.EmbeddingVariableOption(init_option=ops.InitializerOption(INITIALIZERS[name](), default_value_dim=600))
    variable = ops.get_embedding_variable("emb", 3, ev_option=option)
    keys = tf.range(500, dtype=tf.int64)
    first = ops.embedding_lookup(variable, keys[:250])
    ops.embedding_lookup(variable, keys[:0])
    found = tf.function(ops.embedding_lookup)(variable, keys).numpy()
    np.testing.assert_array_equal(found[:250], first)
    with tf.Graph().as_default(), V1.Session() as session:
        rows = ops.embedding_lookup(ops.get_embedding_variable("emb", 3, ev_option=option), tf.range(500, dtype=tf.int64))
        session.run(V1.global_variables_initializer())
        in_graph = session.run(rows)
        np.testing.assert_array_equal(session.run(rows), in_graph)
    expected = INITIALIZERS[name]()
    expected = expected() if isinstance(expected, type) else expected
    reference = np.array(expected([1, 3] if "constant" in name else [600, 3], tf.float32))
    for values in (found, in_graph):
        assert np.isfinite(values).all()
        np.testing.assert_allclose(values.std(), reference.std(), rtol=0.2)
        np.testing.assert_allclose(values.mean(), reference.mean(), atol=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regularizer": tf.nn.l2_loss}, "regularizer must be None"),
        ({"constraint": tf.abs}, "constraint must be None"),
        ({"caching_device": "/cpu:0"}, "caching_device must be None"),
        ({"validate_shape": False}, "validate_shape must be True"),
        ({"key_dtype": tf.float32}, "key_dtype must be int64 or string"),
        ({"embedding_dim": 0}, "dim must be at least 1"),
        ({"value_dtype": tf.int32}, "dtype must be float16, bfloat16, float32 or float64, got int32"),
        ({"ev_option": ops.CounterFilter(3)}, "ev_option must be an EmbeddingVariableOption"),
        ({"steps_to_live": 0}, "steps_to_live must be at least 1"),
        (
            {"steps_to_live": 5, "ev_option": ops.EmbeddingVariableOption(evict_option=ops.L2WeightEvict(0.1))},
            "steps_to_live or an evict_option, not both",
        ),
    ],
)
def test_arguments_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.get_embedding_variable("emb", **{"embedding_dim": 3, **arguments})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.StorageOption(storage_type="HBM"), "storage_type must be DRAM, got HBM"),
        (lambda: ops.StorageOption(ops.StorageType.DRAM_SSDHASH, storage_path="/x"), "storage_type must be DRAM, got DRAM_SSDHASH"),
        (lambda: ops.StorageOption("TAPE"), "storage_type must be one of DEFAULT, DRAM,"),
        (lambda: ops.StorageOption(storage_size=[1 << 30]), "storage_size must be None"),
        (lambda: ops.InitializerOption(0.5), "initializer must be callable"),
        (lambda: ops.InitializerOption(default_value_no_permission=1.0), "must be 0, got 1.0"),
        (lambda: ops.CBFFilter(3, 10, counter_type=tf.float32), "counter_type must be an integer type"),
        (lambda: ops.EmbeddingVariableOption(filter_option=ops.GlobalStepEvict(3)), "filter_option must be"),
    ],
)
def test_options_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_options_as_programs_write_them():
    option = ops.EmbeddingVariableOption(
        init_option=ops.InitializerOption(initializer=tf.ones_initializer(), default_value_dim=4096),
        filter_option=ops.CBFFilter(filter_freq=2, max_element_size=100, false_positive_probability=0.01, counter_type=tf.int64),
        evict_option=ops.GlobalStepEvict(steps_to_live=4000),
        storage_option=ops.StorageOption(storage_type=ops.StorageType.DRAM),
    )
    variable = ops.get_embedding_variable("emb", 2, ev_option=option, steps_to_live=None)
    ids = tf.constant([1, 1, 2], tf.int64)
    np.testing.assert_array_equal(ops.embedding_lookup(variable, ids), [[1, 1], [1, 1], [0, 0]])


OPTIMIZERS = {
    **{f"keras {name}": lambda tables, name=name: getattr(keras.optimizers, name)(0.1) for name in ("SGD", "Adagrad", "Adam", "Ftrl")},
    "keras with clipnorm": lambda tables: keras.optimizers.Adam(0.1, clipnorm=0.5),
    **{
        f"v1 {name}": lambda tables, name=name: getattr(V1.train, f"{name}Optimizer")(0.1)
        for name in ("GradientDescent", "Adagrad", "Adam", "Ftrl", "RMSProp")
    },
    **{cls.__name__: lambda tables, cls=cls: cls(tables, 0.1) for cls in (FusedSgd, FusedAdagrad, FusedLazyAdamW, FusedFtrl)},
}
BATCHES = [[0, 1, 2], [1, 5, 9, 9], list(range(20)), [3, 30, 31, 32], list(range(15, 60))]


def train(name, *, capacity, parts=None, function=False, static=False):
    """The rows of keys 0..59 after training with growth."""
    if static:
        table = tf.Variable(tf.ones([60, 2]))
        tables = [table]
    else:
        partitioner = None if parts is None else V1.fixed_size_partitioner(parts)
        variable = ops.EmbeddingVariable(2, initializer=tf.ones_initializer(), initial_capacity=capacity, partition_num=parts)
        assert partitioner is None or len(variable.tables) == parts
        tables = variable.tables
    optimizer = OPTIMIZERS[name](tables)

    def step(ids, targets):
        bags = tf.RaggedTensor.from_row_lengths(ids, tf.ones_like(ids))
        with tf.GradientTape() as tape:
            pooled = ops.fused_safe_embedding_lookup_sparse(table if static else variable, bags)
            loss = tf.reduce_sum((pooled - targets) ** 2)
        gradients = tape.gradient(loss, tables)
        pairs = list(zip(gradients, tables, strict=True))
        if hasattr(optimizer, "apply_rows"):
            optimizer.apply_rows(pairs)
        else:
            optimizer.apply_gradients(pairs)

    specs = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 2], tf.float32)]
    call = tf.function(step, input_signature=specs) if function else step
    for batch in BATCHES:
        ids = tf.constant(batch, tf.int64)
        call(ids, tf.stack([tf.cast(ids, tf.float32) / 10, -tf.ones_like(ids, tf.float32)], axis=1))
    if static:
        return table.numpy()
    exported = variable.export()
    assert sorted(exported.keys.tolist()) == sorted({key for batch in BATCHES for key in batch})
    rows = np.ones([60, 2], np.float32)
    rows[exported.keys] = exported.values
    return rows


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_train_a_table_that_grows_as_one_that_does_not(name):
    expected = train(name, capacity=256)
    assert np.abs(expected - 1).max() > 0.1
    variants = [{"capacity": 2}, {"capacity": 2, "function": True}, {"capacity": 4, "parts": 2}]
    for options in variants[: 2 if "clipnorm" in name else 3]:  # which clips each part by itself
        np.testing.assert_allclose(train(name, **options), expected, rtol=1e-5, atol=1e-6, err_msg=str(options))
    if "Ftrl" not in name:  # whose Keras form moves rows that have no gradient
        static = train(name, capacity=0, static=True)
        np.testing.assert_allclose(expected, static, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", [False, True])
@pytest.mark.parametrize("name", ["keras Adagrad", "keras Adam", "v1 Adagrad", "v1 Adam"])
def test_slots_made_after_a_restore_are_those_of_the_checkpoint(name, function, tmp_path):
    def make():
        variable = ops.EmbeddingVariable(2, initializer=tf.ones_initializer(), initial_capacity=2)
        optimizer = OPTIMIZERS[name](variable.tables)

        def step(keys):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum((ops.embedding_lookup(variable, keys) - 3.0) ** 2)
            optimizer.apply_gradients([(tape.gradient(loss, variable.table), variable.table)])

        return variable, tf.function(step, input_signature=[tf.TensorSpec([None], tf.int64)]) if function else step

    one, its_step = make()
    for keys in ([1, 2], [2, 3, 4, 5]):
        its_step(tf.constant(keys, tf.int64))
    path = tf.train.Checkpoint(variable=one).save(str(tmp_path / "one"))
    other, others_step = make()
    tf.train.Checkpoint(variable=other).restore(path)
    for step in (its_step, others_step):  # the table grows in the step in which the slots are made
        step(tf.constant([2, 5, 7, 8, 9, 10], tf.int64))
    np.testing.assert_array_equal(one.export().keys, other.export().keys)
    if "Adam" not in name:  # whose count of steps is the optimizer's
        np.testing.assert_allclose(one.export().values, other.export().values, rtol=1e-6)
    assert other.storage.slots[0][1].shape[0] is None
    sizes = {tf.shape(slot)[0].numpy() for _, slot in other.storage.slots} | {tf.shape(other.table)[0].numpy()}
    assert len(sizes) == 1
