import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops import CBFFilter, CounterFilter, EmbeddingVariable, EmbeddingVariableOption, InitializerOption, StorageOption
from ops.embedding import Feature, grouped_lookup
from ops.embedding.update import FusedFtrl

V1 = tf.compat.v1
LARGEST = 2**63 - 1
KEYS = st.sampled_from([0, -1, 1, 7, LARGEST, -(2**63), 2**40, 12, 13, 14])
BATCHES = st.lists(st.lists(KEYS, max_size=12), max_size=6)


def test_rows_are_given_in_order_and_kept(backend, ones):
    variable = EmbeddingVariable(2, initializer=ones, initial_capacity=4)
    np.testing.assert_array_equal(variable.rows_of(tf.constant([70, -1, 2**62, 70], tf.int64)), [1, 2, 3, 1])
    np.testing.assert_array_equal(variable.rows_of(tf.constant([[5], [2**62]], tf.int64), insert=False), [[-1], [3]])
    exported = variable.export()
    np.testing.assert_array_equal(exported.keys, [70, -1, 2**62])
    np.testing.assert_array_equal(exported.values, np.ones((3, 2)))
    np.testing.assert_array_equal(exported.frequencies, [2, 1, 1])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=BATCHES, filter_freq=st.sampled_from([0, 1, 2, 5]), parts=st.sampled_from([None, 1, 3]), kind=st.sampled_from(["int", "str"])
)
def test_rows_counts_and_versions_are_those_of_the_rules(backend, reference, ones, batches, filter_freq, parts, kind):
    option = EmbeddingVariableOption(filter_option=CounterFilter(filter_freq))
    key_dtype = tf.int64 if kind == "int" else tf.string
    variable = EmbeddingVariable(1, initializer=ones, option=option, initial_capacity=2, partition_num=parts, key_dtype=key_dtype)
    expected = reference(filter_freq, first_row=parts or 1)

    def tensor(keys):
        return tf.constant(keys if kind == "int" else [str(key) for key in keys], key_dtype)

    for keys in batches:
        np.testing.assert_array_equal(variable.rows_of(tensor(keys)), np.array(expected.insert(keys), np.int64))
        allocated = sum(len(table.numpy()) for table in variable.tables)
        assert allocated <= max(2 * len(expected.row), 2) + 2 * (parts or 1)
    known = list(expected.frequency)
    asked = tensor([*known, 99])
    np.testing.assert_array_equal(variable.rows_of(asked, insert=False), [*(expected.row.get(key, -1) for key in known), -1])
    np.testing.assert_array_equal(variable.get_frequency(asked), [*(expected.frequency[key] for key in known), 0])
    np.testing.assert_array_equal(variable.get_version(asked), [*(expected.version[key] for key in known), -1])
    assert (variable.total_count(), variable.filtered_count()) == (len(expected.row), len(known) - len(expected.row))
    exported = variable.export()
    ordered = sorted(expected.row, key=expected.row.get)
    assert exported.keys.tolist() == (ordered if kind == "int" else [str(key).encode() for key in ordered])
    assert exported.values.shape == (len(ordered), 1)
    assert np.all(exported.values == 1)


def test_a_large_batch_over_threads_is_numbered_in_order(backend, reference, ones):
    keys = np.random.default_rng(0).integers(-20_000, 20_000, 60_000)
    mask = np.random.default_rng(1).integers(0, 2, len(keys))
    variable, expected = EmbeddingVariable(1, initializer=ones, initial_capacity=2), reference()
    for part, own in zip(np.split(keys, 2), np.split(mask, 2), strict=True):
        found = variable.rows_of(tf.constant(part), mask=tf.constant(own, tf.int32))
        np.testing.assert_array_equal(found, expected.insert(part.tolist(), own))
    np.testing.assert_array_equal(variable.get_frequency(tf.constant(keys)), [expected.frequency.get(key, 0) for key in keys.tolist()])


def test_a_million_inserts_with_growth_lose_no_row():
    variable = EmbeddingVariable(1, dtype=tf.float64, initial_capacity=2)
    keys = np.random.default_rng(0).permutation(np.arange(-500_000, 500_000))
    for number, block in enumerate(np.array_split(keys, 500)):
        assert len(variable.table.numpy()) <= max(2, 2 * variable.total_count()), number
        ids = tf.constant(block)
        variable.rows_of(ids, start=lambda new: tf.cast(new, tf.float64)[:, tf.newaxis])
    rows = variable.rows_of(tf.constant(keys), insert=False).numpy()
    np.testing.assert_array_equal(rows, np.arange(1, len(keys) + 1))
    np.testing.assert_array_equal(variable.table.numpy()[rows, 0], keys)
    assert variable.total_count() == 1_000_000
    assert len(variable.table.numpy()) <= 2 * 1_000_000


def test_inference_inserts_and_counts_nothing(backend, ones):
    variable = EmbeddingVariable(2, initializer=ones)
    variable.rows_of(tf.constant([1, 2]))
    before = [held.numpy() for held in variable.variables]
    np.testing.assert_array_equal(variable.rows_of(tf.constant([2, 3]), insert=False), [2, -1])
    np.testing.assert_array_equal(variable.rows_of(tf.constant([1, 2]), insert=False, mask=tf.constant([0, 1])), [-1, 2])
    for held, old in zip(variable.variables, before, strict=True):
        np.testing.assert_array_equal(held.numpy(), old)


def test_negative_ids_are_pruned_where_they_are_looked_up_as_features(backend, ones):
    variable = EmbeddingVariable(2, initializer=ones)
    ids = tf.ragged.constant([[-1, 4], [-7], [0]], dtype=tf.int64)
    np.testing.assert_array_equal(variable.rows_like(ids).flat_values, [-1, 1, -1, 2])
    assert variable.export().keys.tolist() == [4, 0]
    np.testing.assert_array_equal(variable.rows_like(ids, prune=False).flat_values, [3, 1, 4, 2])


def test_a_bloom_filter_admits_every_frequent_key_and_few_others(ones):
    option = EmbeddingVariableOption(filter_option=CBFFilter(3, max_element_size=2000, false_positive_probability=0.01))
    variable = EmbeddingVariable(1, initializer=ones, option=option)
    rare = tf.range(10_000, 12_000, dtype=tf.int64)
    variable.rows_of(rare)
    frequent = tf.range(100, dtype=tf.int64)
    for times in range(3):
        early = np.sum(variable.rows_of(frequent, insert=False).numpy() >= 0)
        assert early <= (0 if times < 2 else 3), times
        variable.rows_of(frequent)
    assert np.all(variable.rows_of(frequent, insert=False).numpy() > 0)
    np.testing.assert_array_equal(variable.get_frequency(frequent)[:5], [3] * 5)
    variable.rows_of(rare)
    assert variable.total_count() - 100 < 0.02 * 2000
    assert variable.filtered_count() == 0


def test_growth_keeps_rows_slots_and_start_values(backend, ones):
    variable = EmbeddingVariable(3, initializer=ones, initial_capacity=2)
    optimizer = FusedFtrl([variable.table], 0.1)

    @tf.function(input_signature=[tf.RaggedTensorSpec([1, None], tf.int32)])
    def step(ids):
        rows = variable.rows_like(ids)
        optimizer.apply([Feature(variable.table, rows, combiner="sum")], [tf.ones([1, 3])])

    for first in range(0, 40, 5):
        step(tf.ragged.constant([[7, *range(1000 + first, 1005 + first)]]))
    rows = variable.export().values
    assert len(rows) == 41
    assert variable.table.shape[0] is None
    accumulator, linear = optimizer.slots_of(variable.table)
    assert accumulator.numpy().shape == linear.numpy().shape == variable.table.numpy().shape
    np.testing.assert_allclose(accumulator.numpy()[1:42, 0], [0.1 + 8] + [0.1 + 1] * 40, rtol=1e-6)
    np.testing.assert_allclose(rows[1:], np.broadcast_to(rows[1], (40, 3)), rtol=1e-6)
    assert rows[0, 0] < rows[1, 0] < 1


@pytest.mark.parametrize("parts", [1, 3])
def test_gradient(parts):
    variable = EmbeddingVariable(2, initial_capacity=3, partition_num=parts)
    ids = tf.ragged.constant([[8, 9], [9, 11, 30]], dtype=tf.int64)
    with tf.GradientTape() as tape:
        rows = variable.rows_like(ids)
        pooled = grouped_lookup([Feature(variable.table, rows, combiner="sum", partition_strategy="mod")])[0]
    gradients = [tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(pooled, variable.tables)]
    by_row = np.stack(gradients, axis=1).reshape(-1, 2)
    np.testing.assert_array_equal(by_row[parts : parts + 4, 0], [1, 2, 1, 1])
    assert by_row.sum() == 10


@pytest.mark.parametrize("name", ["FtrlOptimizer", "AdagradOptimizer", "AdamOptimizer"])
def test_slots_of_tf1_optimizers_grow_along(name, ones, tmp_path):
    def run(capacity, restore_from=None, feeds=(range(0, 3), range(1, 9), range(5, 40))):
        with tf.Graph().as_default():
            variable = EmbeddingVariable(2, initializer=ones, initial_capacity=capacity)
            ids = V1.placeholder(tf.int64, [None])
            ragged = tf.RaggedTensor.from_row_lengths(ids, [tf.size(ids)])
            pooled = grouped_lookup([Feature(variable.table, variable.rows_like(ragged), combiner="sum")])[0]
            train = getattr(V1.train, name)(0.1).minimize(tf.reduce_sum(pooled * pooled))
            saver = V1.train.Saver()
            with V1.Session() as session:
                session.run(V1.global_variables_initializer())
                if restore_from:
                    saver.restore(session, restore_from)
                for feed in feeds:
                    session.run(train, {ids: list(feed)})
                saved = saver.save(session, str(tmp_path / f"graph{capacity}{bool(restore_from)}"))
                return session.run(variable.table)[1 : 1 + session.run(variable.state)[1]], saved

    small, _ = run(2)
    large, _ = run(64)
    assert len(small) == 40
    np.testing.assert_allclose(small, large, rtol=1e-5)
    _, saved = run(2, feeds=(range(0, 3), range(1, 9)))
    resumed, _ = run(2, restore_from=saved, feeds=(range(5, 40),))
    np.testing.assert_allclose(resumed, large, rtol=1e-5)


def test_start_values_are_those_of_the_option(backend):
    option = EmbeddingVariableOption(init_option=InitializerOption(tf.constant_initializer(0.25)))
    variable = EmbeddingVariable(2, option=option)
    variable.rows_of(tf.constant([3, 4]))
    np.testing.assert_array_equal(variable.export().values, np.full([2, 2], 0.25))
    drawn = EmbeddingVariable(16)
    drawn.rows_of(tf.range(100))
    values = drawn.export().values
    assert np.all(np.abs(values) <= 0.25)
    assert len(np.unique(values)) > 1500


def test_refusals(ones):
    with pytest.raises(ValueError, match="dim must be at least 1"):
        EmbeddingVariable(0)
    with pytest.raises(ValueError, match="key_dtype must be int64 or string, got float32"):
        EmbeddingVariable(1, key_dtype=tf.float32)
    with pytest.raises(ValueError, match="storage_type must be DRAM, got SSDHASH"):
        StorageOption("SSDHASH")
    with pytest.raises(ValueError, match="ids must be of the key dtype int64, got string"):
        EmbeddingVariable(1).rows_of(tf.constant(["a"]))
    variable = EmbeddingVariable(2, initial_capacity=4, initializer=ones)
    with pytest.raises(tf.errors.InvalidArgumentError, match="mask must be 0 or 1, got 2"):
        variable.rows_of(tf.constant([1, 5]), mask=tf.constant([1, 2]))
    variable.state.assign([9, 1, 1, 1, 0, 1])
    with pytest.raises(tf.errors.DataLossError, match="restore all variables"):
        variable.rows_of(tf.constant([1]))


@pytest.mark.parametrize(("key_dtype", "entry_bytes"), [(tf.int64, 32), (tf.string, 48)])
def test_the_size_counts_the_table_and_an_entry_per_key(key_dtype, entry_bytes):
    variable = EmbeddingVariable(3, key_dtype=key_dtype, initial_capacity=10, partition_num=2)
    assert variable.counts()["size_bytes"] == 10 * 3 * 4 + 10 * entry_bytes
