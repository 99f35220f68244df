"""Checkpoints, eviction and frozen graphs."""

from itertools import chain

import numpy as np
import pytest
import tensorflow as tf

from ops import CBFFilter, CounterFilter, EmbeddingVariable, EmbeddingVariableOption, GlobalStepEvict, L2WeightEvict
from ops.embedding import Feature, grouped_lookup
from ops.embedding.graph import freeze
from ops.embedding.update import FusedAdagrad, FusedFtrl, FusedLazyAdamW, FusedSgd
from ops.optimizers import LazyAdamW

V1 = tf.compat.v1
FUSED = {"adagrad": FusedAdagrad, "ftrl": FusedFtrl, "fused-adamw": FusedLazyAdamW, "sgd": FusedSgd}


class Training:
    """A variable, an optimizer, and steps whose gradients depend on the rows, so that every difference shows."""

    def __init__(self, *, capacity=2, parts=1, optimizer="adagrad", key_dtype=tf.int64, **option):
        options = EmbeddingVariableOption(**{"filter_option": CounterFilter(2), **option})
        start = tf.constant_initializer(0.5)
        self.variable = EmbeddingVariable(
            2, initializer=start, option=options, initial_capacity=capacity, partition_num=parts, key_dtype=key_dtype
        )
        tables = self.variable.tables
        self.optimizer = FUSED[optimizer](tables, learning_rate=0.1) if optimizer in FUSED else LazyAdamW(tables)
        self.checkpoint = tf.train.Checkpoint(variable=self.variable, optimizer=self.optimizer)

    def run(self, first, last):
        for step in range(first, last):
            self.step(tf.RaggedTensor.from_tensor(self.keys(np.random.default_rng(step).integers(0, 30, (1, 12)))))
        return self

    def keys(self, numbers):
        ids = tf.constant(numbers, tf.int64)
        return ids if self.variable.key_dtype == tf.int64 else tf.strings.as_string(ids)

    def step(self, ids):
        feature = Feature(self.variable.table, self.variable.rows_like(ids), combiner="sum", partition_strategy="mod")
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(grouped_lookup([feature])[0] ** 2)
        gradients = tape.gradient(loss, self.variable.tables)
        if isinstance(self.optimizer, LazyAdamW):
            self.optimizer.apply(gradients, tf.constant(0.01))
        else:
            self.optimizer.apply_rows(list(zip(gradients, self.variable.tables, strict=True)))

    def result(self):
        return [*self.variable.export(), self.variable.get_frequency(self.keys(range(30))).numpy()]


@pytest.mark.parametrize("key_dtype", [tf.int64, tf.string])
def test_equal_variables_write_equal_bytes(backend, key_dtype, tmp_path):
    for name in ("one", "other"):
        Training(key_dtype=key_dtype).run(0, 4).checkpoint.write(tmp_path / name)
    for end in ("index", "data-00000-of-00001"):
        assert (tmp_path / f"one.{end}").read_bytes() == (tmp_path / f"other.{end}").read_bytes(), end


@pytest.mark.parametrize("optimizer", [*FUSED, "adamw"])
@pytest.mark.parametrize(("capacity", "parts", "key_dtype"), [(2, 1, tf.int64), (64, 1, tf.string), (8, 3, tf.int64), (3, 2, tf.string)])
def test_restored_goes_on_as_if_never_interrupted(backend, capacity, parts, key_dtype, optimizer, tmp_path):
    options = {"optimizer": optimizer, "key_dtype": key_dtype}
    whole = Training(**options).run(0, 8)
    path = Training(**options).run(0, 4).checkpoint.save(tmp_path / "checkpoint")
    resumed = Training(capacity=capacity, parts=parts, **options)
    resumed.checkpoint.restore(path).assert_consumed()
    assert resumed.variable.filtered_count() > 0
    resumed.run(4, 8)
    keys, values, *counts = zip(whole.result(), resumed.result(), strict=True)
    for one, other in (keys, *counts):
        np.testing.assert_array_equal(one, other)
    # Powers and roots come out of vector instructions or not, by where a row lies in its part.
    np.testing.assert_allclose(*values, rtol=5e-7 if parts > 1 else 0)


def test_slots_wait_for_an_optimizer_that_is_made_later(tmp_path):
    path = Training().run(0, 4).checkpoint.save(tmp_path / "checkpoint")
    resumed = Training.__new__(Training)
    resumed.variable = EmbeddingVariable(2, option=EmbeddingVariableOption(filter_option=CounterFilter(2)))
    resumed.checkpoint = tf.train.Checkpoint(variable=resumed.variable)
    status = resumed.checkpoint.restore(path)
    resumed.optimizer = resumed.checkpoint.optimizer = FusedAdagrad(resumed.variable.tables, 0.1)
    status.assert_consumed()
    resumed.variable._initializer = tf.constant_initializer(0.5)
    for one, other in zip(Training().run(0, 8).result(), resumed.run(4, 8).result(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_bloom_filter_is_saved(tmp_path):
    option = EmbeddingVariableOption(filter_option=CBFFilter(2, max_element_size=100))
    one, other = (EmbeddingVariable(1, option=option) for _ in range(2))
    one.rows_of(tf.constant([5]))
    path = tf.train.Checkpoint(v=one).save(tmp_path / "checkpoint")
    tf.train.Checkpoint(v=other).restore(path).assert_consumed()
    assert other.rows_of(tf.constant([5])).numpy() == [1]


@pytest.mark.parametrize("parts", [1, 3])
def test_eviction_by_step_takes_out_exactly_the_stale_keys(backend, ones, parts):
    option = EmbeddingVariableOption(filter_option=CounterFilter(2), evict_option=GlobalStepEvict(3))
    step = tf.Variable(0, dtype=tf.int64)
    variable = EmbeddingVariable(1, initializer=ones, option=option, initial_capacity=2, partition_num=parts, global_step=step)
    last = {}
    for now in range(10):
        step.assign(now)
        keys = np.random.default_rng(now).integers(0, 40, 20)
        last.update(dict.fromkeys(keys.tolist(), now))
        variable.rows_of(tf.constant(keys), start=lambda new: tf.cast(new, tf.float32)[:, None])
    before = variable.export()
    stale = {key for key, version in last.items() if 9 - version > 3}
    assert {key for key, version in last.items() if 9 - version == 3}, "the bound itself must be met"
    gone = variable.evict()
    assert gone == len(stale & set(before.keys.tolist())) > 0
    after = variable.export()
    assert after.keys.tolist() == [key for key in before.keys.tolist() if key not in stale]
    np.testing.assert_array_equal(after.values[:, 0], after.keys)
    np.testing.assert_array_equal(variable.get_frequency(tf.constant(sorted(stale))), np.zeros(len(stale)))
    counts = variable.counts()
    assert (counts["evicted"], counts["rows"], counts["admitted"]) == (gone, len(after.keys), len(before.keys))
    assert sum(len(table.numpy()) for table in variable.tables) <= 2 * len(after.keys) + 2 * parts
    key = tf.constant([min(stale)])
    assert variable.rows_of(key).numpy() == [-1], "an evicted key is counted anew"
    assert variable.rows_of(key).numpy() == [parts + len(after.keys)], "rows are used again"


def test_eviction_by_norm_moves_slots_with_their_rows_and_saving_evicts(tmp_path):
    norms = np.linalg.norm(Training().run(0, 8).variable.export().values.astype(float), axis=1)
    threshold = float(np.median(norms))
    training = Training(evict_option=L2WeightEvict(threshold)).run(0, 8)
    variable, before = training.variable, training.variable.export()
    slot = training.optimizer.slots_of(variable.table)[0]
    old_slots = slot.numpy()[1 : 1 + len(before.keys)]
    large = norms >= threshold
    assert 0 < large.sum() < len(large)
    training.checkpoint.save(tmp_path / "checkpoint")
    after = variable.export()
    np.testing.assert_array_equal(after.keys, before.keys[large])
    np.testing.assert_array_equal(after.values, before.values[large])
    np.testing.assert_array_equal(slot.numpy()[1 : 1 + len(after.keys)], old_slots[large])
    new = variable.rows_of(tf.constant([1000, 1000])).numpy()[0]
    np.testing.assert_array_equal(slot.numpy()[new], np.float32([0.1, 0.1]))


def test_eviction_in_a_tf1_graph(ones):
    with tf.Graph().as_default():
        step = V1.train.get_or_create_global_step()
        variable = EmbeddingVariable(
            2, initializer=ones, initial_capacity=2, option=EmbeddingVariableOption(evict_option=GlobalStepEvict(2))
        )
        ids = V1.placeholder(tf.int64, [None])
        rows = variable.rows_like(tf.RaggedTensor.from_row_lengths(ids, [tf.size(ids)]))
        loss = tf.reduce_sum(grouped_lookup([Feature(variable.table, rows, combiner="sum")])[0])
        train = V1.train.AdagradOptimizer(0.1).minimize(loss, global_step=step)
        with V1.Session() as session:
            session.run(V1.global_variables_initializer())
            for keys in ([1, 2, 3], [3, 4], [5]):
                session.run(train, {ids: keys})
            assert variable.evict(session=session) == 2
            state, keys, table = session.run([variable.state, variable.keys, variable.table])
            assert keys[: state[0]].tolist() == [3, 4, 5]
            slot = next(held for _, held in variable.slots)
            assert session.run(slot).shape == table.shape
            np.testing.assert_allclose(session.run(slot)[1:4, 0], [2.1, 1.1, 1.1], rtol=1e-6)
            session.run(train, {ids: [9]})
            assert session.run(variable.rows)[: session.run(variable.state)[0]].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["int", "string"])
def test_a_frozen_graph_looks_keys_up_without_the_library(kind, tmp_path, fork_server):
    keys = [5, -1, 0, 2**63 - 1, 77] if kind == "int" else ["a", "", "b", "ccc", "77"]
    dtype = tf.int64 if kind == "int" else tf.string
    option = EmbeddingVariableOption(filter_option=CounterFilter(2))
    variable = EmbeddingVariable(3, key_dtype=dtype, option=option, partition_num=2)
    variable.rows_of(tf.constant([*keys, *keys[:4]], dtype))

    @tf.function(input_signature=[tf.TensorSpec([None], dtype, name="ids")])
    def serve(ids):
        rows = variable.rows_of(ids, insert=False)
        ragged = tf.RaggedTensor.from_row_lengths(rows, tf.ones_like(rows))
        return grouped_lookup([Feature(variable.table, ragged, partition_strategy="mod")])[0]

    asked = tf.constant([*keys, 999] if kind == "int" else [*keys, "unknown"], dtype)
    frozen = freeze(serve.get_concrete_function(), fused=False)
    np.testing.assert_array_equal(frozen(asked)[0], serve(asked))
    assert np.all(serve(asked).numpy()[4:] == 0)
    graph_def = frozen.graph.as_graph_def()
    assert not any(node.op.startswith("Nann>") or node.op == "ReadVariableOp" for node in graph_def.node)
    (tmp_path / "graph.pb").write_bytes(graph_def.SerializeToString())
    output = frozen.outputs[0].name
    program = f"""
import numpy as np, tensorflow as tf
graph_def = tf.compat.v1.GraphDef.FromString(open({str(tmp_path / "graph.pb")!r}, "rb").read())
wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
np.save({str(tmp_path / "served.npy")!r}, wrapped.prune("ids:0", {output!r})(tf.constant({asked.numpy().tolist()!r}, tf.{dtype.name})))
"""
    done = fork_server.run(program)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "served.npy"), serve(asked))


@pytest.mark.parametrize(("kind", "parts"), [("int", 1), ("string", 2)])
def test_a_saved_model_looks_keys_up_and_inserts_nothing(backend, kind, parts, tmp_path, fork_server):
    training = Training(capacity=4, parts=parts, key_dtype=tf.int64 if kind == "int" else tf.string)
    variable = training.variable
    keys = tf.constant([5, 1, 0, 2**63 - 1, 77] if kind == "int" else ["a", "", "b", "ccc", "77"])
    asked = tf.concat([keys, [999] if kind == "int" else ["unknown"]], axis=0)
    for _ in range(2):
        training.step(tf.RaggedTensor.from_row_lengths(keys, [3, 2]))
    training.step(tf.RaggedTensor.from_row_lengths(asked[5:], [1]))

    @tf.function(input_signature=[tf.TensorSpec([None], variable.key_dtype, name="ids")])
    def serve(ids):
        rows = variable.rows_of(ids, insert=False)
        ragged = tf.RaggedTensor.from_row_lengths(rows, tf.ones_like(rows))
        pooled = grouped_lookup([Feature(variable.table, ragged, partition_strategy="mod")], fused=backend == "native")[0]
        return {"pooled": pooled, "frequencies": variable.get_frequency(ids)}

    model = tf.Module()
    model.embedding, model.serve = variable, serve
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=serve)
    np.save(tmp_path / "asked.npy", asked.numpy().astype(np.int64 if kind == "int" else "S"))
    library = "from ops import native; native.load_library()" if backend == "native" else ""
    program = f"""
import numpy as np, tensorflow as tf
{library}
model = tf.saved_model.load({str(tmp_path / "model")!r})
asked = tf.constant(np.load({str(tmp_path / "asked.npy")!r}))
before = model.embedding.state.numpy()
served = model.signatures["serving_default"](ids=asked)
assert before.tolist() == model.embedding.state.numpy().tolist()
np.savez({str(tmp_path / "served.npz")!r}, **served)
"""
    done = fork_server.run(program)
    assert done.returncode == 0, done.stderr
    expected, served = serve(asked), np.load(tmp_path / "served.npz")
    for name in ("pooled", "frequencies"):
        np.testing.assert_allclose(served[name], expected[name], rtol=1e-6)
    assert np.all(served["pooled"][:5] != 0)
    assert np.all(served["pooled"][5] == 0)
    assert served["frequencies"].tolist() == [2, 2, 2, 2, 2, 1]
    names = {name for name, _ in tf.train.list_variables(str(tmp_path / "model" / "variables" / "variables"))}
    assert not any("slot" in name or "content" in name for name in names), names
    if backend == "stock":
        with V1.Session(graph=tf.Graph()) as session:
            graph_def = V1.saved_model.load(session, ["serve"], str(tmp_path / "model")).graph_def
        nodes = chain(graph_def.node, *(function.node_def for function in graph_def.library.function))
        assert not any(node.op.startswith("Nann>") for node in nodes)


def test_a_training_lookup_cannot_be_frozen(ones):
    variable = EmbeddingVariable(1, initializer=ones)
    function = tf.function(variable.rows_of, input_signature=[tf.TensorSpec([None], tf.int64)])
    with pytest.raises(ValueError, match="insert=False"):
        freeze(function.get_concrete_function())
