"""Five steps of each fused optimizer against the stock lookup with stock optimizers, or a straightforward one where stock has none."""

import numpy as np
import pytest
import tensorflow as tf

from ops.embedding import Feature, grouped_lookup, row_updates
from ops.embedding.update import FusedAdagrad, FusedFtrl, FusedLazyAdamW, FusedSgd

STEPS = 5
V1 = tf.compat.v1.train


class LazyAdam:
    """Lazy AdamW in dense stock ops: rows whose gradient slices name them."""

    def __init__(self, decay):
        self.decay, self.count, self.m, self.v = decay, 0, 0.0, 0.0

    def apply_gradients(self, pairs):
        ((slices, table),) = pairs
        self.count += 1
        touched = np.zeros((table.shape[0], 1), bool)
        touched[slices.indices.numpy()] = True
        g, old = tf.convert_to_tensor(slices).numpy(), table.numpy()
        m, v = self.m + 0.1 * (g - self.m), self.v + 0.001 * (g * g - self.v)
        correction = np.sqrt(1 - 0.999**self.count) / (1 - 0.9**self.count)
        new = old - (0.05 * correction * m / (np.sqrt(v) + 1e-8) + 0.05 * self.decay * old)
        self.m, self.v = np.where(touched, m, self.m), np.where(touched, v, self.v)
        table.assign(np.where(touched, new, old))


OPTIMIZERS = {
    "sgd": (lambda v: FusedSgd(v, 0.05), lambda: V1.GradientDescentOptimizer(0.05)),
    "adagrad": (lambda v: FusedAdagrad(v, 0.05), lambda: V1.AdagradOptimizer(0.05)),
    "lazy adam": (lambda v: FusedLazyAdamW(v, 0.05), lambda: LazyAdam(0.0)),
    "lazy adamw": (lambda v: FusedLazyAdamW(v, 0.05, weight_decay=0.1), lambda: LazyAdam(0.1)),
    "ftrl": (
        lambda v: FusedFtrl(v, 0.05, l1=0.2, l2=0.01),
        lambda: V1.FtrlOptimizer(0.05, l1_regularization_strength=0.2, l2_regularization_strength=0.01),
    ),
}


def feature_of(case, table, weights):
    return Feature(
        table=table,
        ids=case.ids(),
        weights=None if weights is None else case.structure(weights),
        combiner=case.combiner,
        max_norm=case.max_norm,
        default_id=case.default_id,
    )


def touched_slices(oracle, case, table, weights, direction):
    """The stock gradient without its zero rows for id 0: lazy updates tell rows with a zero gradient from rows without one."""
    *_, slices = oracle.value_and_gradients(lambda t, w: oracle.fused_lookup(t, case, w, fused=False), table, weights, direction)
    dense = tf.convert_to_tensor(slices)
    *_, exact = oracle.value_and_gradients(lambda t, w: oracle.fused_lookup(t, case, w), table, weights, direction)
    return tf.IndexedSlices(tf.gather(dense, exact.indices), exact.indices, table.shape)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("combiner", ["mean", "sqrtn", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("max_norm", [None, 1.5])
def test_five_steps_equal_stock(oracle, name, combiner, weighted, max_norm):
    rng = np.random.default_rng(3)
    start = rng.normal(size=(12, 9)).astype(np.float32)
    fused_table, stock_table = tf.Variable(start), tf.Variable(start)
    make_fused, make_stock = OPTIMIZERS[name]
    fused, stock = make_fused([fused_table]), make_stock()
    for step in range(STEPS):
        case = oracle.random_case(rng, dim=9, weighted=weighted, combiner=combiner, max_norm=max_norm, default_id=[None, 0, 5][step % 3])
        weights = None if case.weights is None else tf.constant(case.weights, tf.float32)
        direction = tf.constant(rng.normal(size=(len(case.splits) - 1, 9)), tf.float32)
        stock.apply_gradients([(touched_slices(oracle, case, stock_table, weights, direction), stock_table)])
        fused.apply([feature_of(case, fused_table, weights)], [direction])
        np.testing.assert_allclose(fused_table, stock_table, rtol=1e-4, atol=2e-6)
    assert int(fused.step) == STEPS


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_rows_not_in_the_batch_keep_their_bits(name, dtype):
    start = np.random.default_rng(2).normal(size=(6, 3)).astype(dtype.as_numpy_dtype)
    table = tf.Variable(start)
    optimizer = OPTIMIZERS[name][0]([table])
    before = [slot.numpy() for slot in optimizer.slots_of(table)]
    for _ in range(3):
        optimizer.apply([Feature(table, tf.ragged.constant([[4, 1], [4]]))], [tf.ones([2, 3], dtype)])
    untouched = [0, 2, 3, 5]
    np.testing.assert_array_equal(table.numpy()[untouched], start[untouched])
    assert not np.any(table.numpy()[[1, 4]] == start[[1, 4]])
    for slot, old in zip(optimizer.slots_of(table), before, strict=True):
        np.testing.assert_array_equal(slot.numpy()[untouched], old[untouched])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_row_gradients_and_the_stock_form_agree(name, monkeypatch):
    rng = np.random.default_rng(5)
    start = rng.normal(size=(7, 4))
    tables = [tf.Variable(start), tf.Variable(start)]
    optimizers = [OPTIMIZERS[name][0]([table]) for table in tables]
    for _ in range(STEPS):
        gradient = tf.IndexedSlices(tf.constant(rng.normal(size=(5, 4))), tf.constant(rng.integers(0, 7, 5)))
        optimizers[0].apply_rows([(gradient, tables[0])])
        with monkeypatch.context() as patch:
            patch.setattr(row_updates, "native_library", lambda tables: None)
            optimizers[1].apply_rows([(gradient, tables[1])])
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-6)


@pytest.mark.parametrize("strategy", ["div", "mod"])
def test_partitioned_and_shared_tables_in_a_group(strategy):
    rng = np.random.default_rng(6)
    whole = rng.normal(size=(11, 5)).astype(np.float32)
    order = [np.arange(11)[p::3] for p in range(3)] if strategy == "mod" else np.array_split(np.arange(11), 3)
    one, parts = tf.Variable(whole), [tf.Variable(whole[rows]) for rows in order]
    ids = [tf.ragged.constant([[0, 10, 3], [], [4, 4]]), tf.ragged.constant([[10], [7, 8], [2]])]
    gradient = tf.constant(rng.normal(size=(3, 10)), tf.float32)
    for table, variables in ((one, [one]), (parts, parts)):
        features = [Feature(table, each, combiner="sum", partition_strategy=strategy) for each in ids]
        pooled = grouped_lookup(features, concat=True)
        assert pooled.shape == [3, 10]
        FusedAdagrad(variables, 0.1).apply(features, gradient, concat=True)
    updated = np.empty_like(whole)
    for rows, part in zip(order, parts, strict=True):
        updated[rows] = part.numpy()
    np.testing.assert_allclose(updated, one.numpy(), rtol=1e-6)


def test_values_read_before_a_step_stay():
    table = tf.Variable(tf.ones([3, 2]))
    read = table.read_value()
    FusedSgd([table], 1.0).apply([Feature(table, tf.ragged.constant([[1]]))], [tf.ones([1, 2])])
    np.testing.assert_array_equal(read, np.ones((3, 2)))
    np.testing.assert_array_equal(table, [[1, 1], [0, 0], [1, 1]])


def test_refusals():
    table = tf.Variable(tf.ones([3, 2]))
    feature = Feature(table, tf.ragged.constant([[1]]))
    with pytest.raises(ValueError, match="none of the variables"):
        FusedSgd([tf.Variable(tf.ones([3, 2]))], 1.0).apply([feature], [tf.ones([1, 2])])
    with pytest.raises(ValueError, match="only tables that are variables"):
        FusedSgd([table], 1.0).apply([Feature(tf.ones([3, 2]), tf.ragged.constant([[1]]))], [tf.ones([1, 2])])
    with pytest.raises(ValueError, match="same max_norm"):
        FusedSgd([table], 1.0).apply([feature, Feature(table, tf.ragged.constant([[1]]), max_norm=1.0)], [tf.ones([1, 2])] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must lie in \[0, 3\), got 7"):
        FusedSgd([table], 1.0).apply_rows([(tf.IndexedSlices(tf.ones([1, 2]), tf.constant([7])), table)])
