"""Outputs and gradients of the layers, against plain Keras and numpy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.keras import Embedding, EmbeddingBag

DIM, ROWS = 3, 20


def pooled(rows, combiner):
    if not len(rows):
        return np.zeros(DIM)
    return rows.sum(axis=0) / {"sum": 1, "mean": len(rows), "sqrtn": len(rows) ** 0.5}[combiner]


bags = st.lists(st.lists(st.integers(-2, ROWS - 1), max_size=5), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(bags=bags, combiner=st.sampled_from(["sum", "mean", "sqrtn"]), form=st.sampled_from(["padded", "ragged", "sparse", "int32"]))
def test_a_bag_combines_the_rows_of_its_ids(bags, combiner, form):
    layer = EmbeddingBag(ROWS, DIM, combiner=combiner)
    ragged = tf.ragged.constant(bags, tf.int64, ragged_rank=1)
    ids = {"padded": ragged.to_tensor(-1), "ragged": ragged, "sparse": ragged.to_sparse(), "int32": tf.cast(ragged.to_tensor(-1), tf.int32)}
    with tf.GradientTape() as tape:
        found = layer(ids[form])
        loss = tf.reduce_sum(found**2)
    table = layer.embeddings.numpy()
    wanted = [pooled(table[[row for row in bag if row >= 0]], combiner) for bag in bags]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    gradient = tf.convert_to_tensor(tape.gradient(loss, layer.embeddings)).numpy()
    expected = np.zeros_like(table)
    for bag, out in zip(bags, wanted, strict=True):
        kept = [row for row in bag if row >= 0]
        for row in kept:
            expected[row] += 2 * out / {"sum": 1, "mean": len(kept), "sqrtn": len(kept) ** 0.5}[combiner]
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_weights_and_max_norm():
    layer = EmbeddingBag(ROWS, DIM, combiner="mean", max_norm=0.01)
    ids, weights = tf.constant([[1, 2, -1]]), tf.constant([[1.0, 3.0, 9.0]])
    rows = layer(tf.constant([[1], [2]])).numpy()
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 0.01, rtol=1e-5)
    np.testing.assert_allclose(layer(ids, weights)[0], (rows[0] + 3 * rows[1]) / 4, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4)])
def test_embedding_is_the_one_of_keras(shape):
    ours, keras = Embedding(ROWS, DIM), tf.keras.layers.Embedding(ROWS, DIM)
    ids = np.random.default_rng(1).integers(0, ROWS, shape)
    keras.build()
    ours.build()
    keras.set_weights(ours.get_weights())
    with tf.GradientTape(persistent=True) as tape:
        found, wanted = ours(ids), keras(ids)
        losses = [tf.reduce_sum(tf.sin(each)) for each in (found, wanted)]
    assert found.shape == wanted.shape == ours.compute_output_shape(shape)
    np.testing.assert_array_equal(found, wanted)
    gradients = [tf.convert_to_tensor(tape.gradient(losses[0], ours.embeddings)), tape.gradient(losses[1], keras.embeddings)]
    np.testing.assert_allclose(gradients[0], tf.convert_to_tensor(gradients[1]), atol=1e-6)


def test_ragged_ids_give_ragged_rows():
    layer, ids = Embedding(ROWS, DIM), tf.ragged.constant([[1, 2], [], [3]])
    found = layer(ids)
    assert found.row_lengths().numpy().tolist() == [2, 0, 1]
    np.testing.assert_array_equal(found.flat_values, layer(ids.flat_values))


def test_padding_has_no_row_no_count_and_a_mask():
    fixed, grows = Embedding(ROWS, DIM, mask_zero=True), Embedding(None, DIM, mask_zero=True)
    for layer in (fixed, grows):
        rows = layer(tf.constant([[0, 3]]), training=True).numpy()
        assert not rows[0, 0].any()
        assert rows[0, 1].any()
        np.testing.assert_array_equal(layer.compute_mask(tf.constant([[0, 3]])), [[False, True]])
    assert grows.embedding_variable.export().keys.tolist() == [3]
    bag = EmbeddingBag(None, DIM, key_dtype="string", mask_zero=True)
    found = bag(tf.constant([["a", "b", ""], ["", "", ""]]), training=True).numpy()
    assert sorted(bag.embedding_variable.export().keys.tolist()) == [b"a", b"b"]
    np.testing.assert_allclose(found[0], bag.embedding_variable.export().values.mean(axis=0), rtol=1e-5)
    assert not found[1].any()


def test_a_bag_leaves_out_what_an_earlier_layer_masks():
    layer = EmbeddingBag(ROWS, DIM, combiner="sum")
    ids, mask = tf.constant([[1, 2], [3, 4]]), tf.constant([[True, False], [False, False]])
    found = layer(ids, mask=mask).numpy()
    np.testing.assert_array_equal(found, [layer.embeddings.numpy()[1], np.zeros(DIM)])
    weighted = layer(ids, tf.constant([[2.0, 1.0], [1.0, 1.0]]), mask=mask).numpy()
    np.testing.assert_array_equal(weighted, 2 * found)


def test_only_training_lookups_admit(kind, make):
    layer = make(kind, promote_after=2)
    ids = tf.constant([[7, 8, 7]])
    before = layer(ids).numpy()
    if kind == "static":
        return
    variable = layer.embedding_variable
    assert variable.total_count() == 0
    layer(ids, training=True)
    assert variable.export().keys.tolist() == [7]
    layer.trainable = False
    layer(ids, training=True)
    assert variable.export().keys.tolist() == [7]
    after = layer(ids).numpy()
    np.testing.assert_allclose(before, after, atol=1e-6) if kind == "adaptive" else None  # own rows start from the shared ones


def test_start_values_depend_on_the_key_alone():
    first, second = EmbeddingBag(None, 8, seed=3), EmbeddingBag(None, 8, seed=3)
    first(tf.constant([[1, 2], [3, 4]]), training=True)
    second(tf.constant([[4]]), training=True)
    second(tf.constant([[2, 3, 1]]), training=True)
    rows = [
        dict(zip(held.keys.tolist(), held.values, strict=True)) for held in (each.embedding_variable.export() for each in (first, second))
    ]
    for key in (1, 2, 3, 4):
        np.testing.assert_array_equal(rows[0][key], rows[1][key])
    everything = np.concatenate(list(rows[0].values()))
    assert len(np.unique(everything)) == everything.size
    assert np.abs(everything).max() <= 0.05


@pytest.mark.parametrize("layer", [Embedding, EmbeddingBag])
def test_mixed_precision_looks_up_in_float32_and_gives_the_compute_dtype(layer):
    tf.keras.config.set_dtype_policy("mixed_bfloat16")
    made = layer(2000, DIM)
    ids = tf.constant([[1999, 1025]])  # bfloat16 holds neither
    assert made(ids).dtype == tf.bfloat16
    assert made.embeddings.dtype == "float32"
    rows = made.embeddings.numpy()[[1999, 1025]]
    wanted = rows if layer is Embedding else rows.mean(axis=0)
    np.testing.assert_array_equal(made(ids)[0], tf.cast(wanted, tf.bfloat16))


@pytest.mark.parametrize(("ids", "words"), [
    (np.array([[0.0, 1.0]], np.float32), "must be int32 or int64, got float32; begin the model with keras.Input"),
    (np.array([["a"]]), "got string; take input_dim=None and key_dtype='string', or hash them"),
])  # fmt: skip
def test_what_are_no_ids_is_refused(ids, words):
    for layer in (Embedding(ROWS, DIM), EmbeddingBag(ROWS, DIM)):
        with pytest.raises(ValueError, match=words):
            layer(ids)


@pytest.mark.parametrize(("arguments", "words"), [
    ({"input_dim": 0}, "input_dim must be at least 1, got 0"),
    ({"input_dim": 5, "shared_rows": 3}, "shared_rows: for tables that grow only"),
    ({"input_dim": 5, "key_dtype": "string"}, "key_dtype: for tables that grow only"),
    ({"input_dim": None, "key_dtype": "int8"}, "key_dtype must be 'int64'"),
    ({"input_dim": None, "embeddings_initializer": "glorot_uniform"}, "must be RandomUniform, RandomNormal, Constant, Zeros or Ones"),
    ({"input_dim": None, "embeddings_regularizer": "l2"}, "see evict_option"),
    ({"input_dim": 5, "combiner": "max"}, "combiner must be one of"),
    ({"input_dim": 5, "max_norm": 0}, "max_norm must be above 0"),
])  # fmt: skip
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        EmbeddingBag(output_dim=3, **arguments)


def test_ids_outside_the_table_and_bags_without_an_axis_are_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="20"):
        EmbeddingBag(ROWS, DIM)(tf.constant([[ROWS]]))
    with pytest.raises(ValueError, match=r"must be bags \[..., L\]"):
        EmbeddingBag(ROWS, DIM)(tf.constant([1]))
    with pytest.raises(ValueError, match="EmbeddingBag takes them"):
        Embedding(ROWS, DIM)(tf.sparse.from_dense([[1]]))


def test_within_xla_the_layers_are_stock_ops():
    for layer in (Embedding(ROWS, DIM), EmbeddingBag(ROWS, DIM, combiner="sqrtn")):
        ids = tf.constant([[1, 2, -1], [3, 3, 4]])
        np.testing.assert_allclose(tf.function(layer, jit_compile=True)(ids), layer(ids), atol=1e-6)
        outside = tf.function(layer, jit_compile=True)(tf.constant([[ROWS, ROWS + 7]]))
        assert not outside.numpy().any()
    with pytest.raises(ValueError, match="XLA cannot compile"):
        tf.function(EmbeddingBag(None, DIM), jit_compile=True)(tf.constant([[1]]))
