"""Random lists of columns: `ops.feature_column` against `tf.compat.v1.feature_column`, forward and gradient, graph and eager mode."""

import collections
import os
import tempfile

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from ops import feature_column as ours

V1 = tf.compat.v1
stock = V1.feature_column
WORDS = ["a", "bc", "d", "ee", "zz", "unknown"]
COUNTS = collections.Counter()  # of what was compared, which `pytest -s` prints
KINDS = ("identity", "hash of strings", "hash of ints", "list", "list of ints", "file", "bucketized", "crossed")


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Each use of a column is announced as deprecated."""
    before = V1.logging.get_verbosity()
    V1.logging.set_verbosity(V1.logging.ERROR)
    yield
    V1.logging.set_verbosity(before)
    print("\ncompared: " + ", ".join(f"{count} {name}" for name, count in COUNTS.items()))


@pytest.fixture(scope="module")
def vocabulary():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "words.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(WORDS[:4]) + "\n")
        yield path


class Case:
    """Columns as data: made with one module or the other; and the features for them, as arrays."""

    def __init__(self, draw, vocabulary, *, sequence=False, smallest=1):
        self.draw, self.vocabulary, self.sequence = draw, vocabulary, sequence
        self.batch = draw(st.integers(smallest, 4))
        self.length = 3
        self.random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.features = {}

    def fresh(self):
        return f"f{len(self.features)}"

    def add(self, kind):
        """A feature of a kind; its name. Sparse or dense, with missing values and empty rows."""
        key, shape = self.fresh(), (self.batch, self.length)
        if kind == "numbers":
            self.features[key] = self.random.normal(size=(self.batch, 2)).astype(np.float32)
            return key
        if kind == "ints":
            values, missing = self.random.integers(0, 9, shape), -1
        else:
            values, missing = self.random.choice(np.array(WORDS, object), shape), ""
        present = self.random.random(shape) < 0.6
        if self.sequence:  # all features of an example are of one length
            present = np.arange(self.length) < 1 + np.arange(self.batch)[:, np.newaxis] % self.length
        if not self.sequence and self.draw(st.booleans()):
            dense = np.where(present, values, missing)
            self.features[key] = dense if kind == "ints" else dense.astype(object)
        else:
            places = np.argwhere(present)
            self.features[key] = (places.reshape(-1, 2).astype(np.int64), values[present], np.array(shape, np.int64))
        return key

    def weights_for(self, key):
        given, name = self.features[key], self.fresh()
        if isinstance(given, tuple):
            weights = self.random.choice([0.5, 2.0, -1.0, 0.0, 1.5], len(given[1])).astype(np.float32)
            self.features[name] = (given[0], weights, given[2])
        else:
            missing = -1 if given.dtype != object else ""
            weights = self.random.choice([0.5, 2.0, -1.0, 1.5], given.shape).astype(np.float32)
            self.features[name] = np.where(given == missing, np.float32(0), weights)
        return name

    def categorical(self, kind=None):
        """A function of a module that makes a categorical column."""
        kinds = KINDS[:6] if self.sequence else KINDS
        kind = kind or self.draw(st.sampled_from(kinds))
        prefix = "sequence_" if self.sequence else ""
        if kind == "bucketized":
            key = self.add("numbers")
            return lambda fc: fc.bucketized_column(fc.numeric_column(key, 2), [-0.5, 0.0, 1.0])
        if kind == "crossed":
            words, ints, numbers = self.add("words"), self.add("ints"), self.add("numbers")
            return lambda fc: fc.crossed_column([words, fc.bucketized_column(fc.numeric_column(numbers, 2), [0.0]), ints], 11)
        key = self.add("ints" if kind in ("identity", "hash of ints", "list of ints") else "words")
        oov = self.draw(st.booleans())
        make = {
            "identity": lambda fc: getattr(fc, prefix + "categorical_column_with_identity")(key, 7, default_value=3),
            "hash of strings": lambda fc: getattr(fc, prefix + "categorical_column_with_hash_bucket")(key, 5),
            "hash of ints": lambda fc: getattr(fc, prefix + "categorical_column_with_hash_bucket")(key, 6, tf.int64),
            "list": lambda fc: getattr(fc, prefix + "categorical_column_with_vocabulary_list")(key, WORDS[:3], num_oov_buckets=2 * oov),
            "list of ints": lambda fc: getattr(fc, prefix + "categorical_column_with_vocabulary_list")(key, [0, 3, 5], dtype=tf.int64),
            "file": lambda fc: getattr(fc, prefix + "categorical_column_with_vocabulary_file")(
                key, self.vocabulary, 4, num_oov_buckets=int(oov)
            ),
        }[kind]
        if not self.sequence and self.draw(st.integers(0, 3)) == 0:
            weights = self.weights_for(key)
            return lambda fc: fc.weighted_categorical_column(make(fc), weights)
        return make

    def embedding_options(self):
        return {
            "dimension": self.draw(st.integers(1, 4)),
            "combiner": self.draw(st.sampled_from(["mean", "sum", "sqrtn"])),
            "max_norm": self.draw(st.sampled_from([None, None, 0.4])),
            "initializer": V1.truncated_normal_initializer(seed=1),
        }

    def fusion(self, fc):
        return {"do_fusion": self.do_fusion} if fc is ours else {}

    def dense(self):
        """A function of a module that makes one dense column, or several that share a table."""
        kind = self.draw(st.sampled_from(["numeric", "bucketized", "indicator", "embedding", "embedding", "embedding", "shared"]))
        if self.sequence:
            kind = self.draw(st.sampled_from(["indicator", "embedding", "embedding", "shared"]))
        if kind == "numeric":
            key = self.add("numbers")
            return lambda fc: [fc.numeric_column(key, 2, normalizer_fn=lambda x: x * 2)]
        if kind == "bucketized":
            column = self.categorical("bucketized")
            return lambda fc: [column(fc)]
        if kind == "indicator":
            column = self.categorical()
            return lambda fc: [fc.indicator_column(column(fc))]
        options = self.embedding_options()
        if kind == "embedding":
            column = self.categorical()
            return lambda fc: [fc.embedding_column(column(fc), **options, **self.fusion(fc))]
        one, other = (self.categorical("hash of strings") for _ in range(2))
        return lambda fc: fc.shared_embedding_columns([one(fc), other(fc)], **options, **self.fusion(fc))

    def tensors(self, *, ragged=False):
        """The features as tensors of the current graph; for the other module sparse ones are ragged where they can be."""
        made = {}
        for key, given in self.features.items():
            if not isinstance(given, tuple):
                made[key] = tf.constant(given.tolist() if given.dtype == object else given, tf.string if given.dtype == object else None)
                made[key] = tf.reshape(made[key], given.shape)
                continue
            places, values, shape = given
            of_strings = values.dtype == object
            made[key] = tf.SparseTensor(places, tf.constant(values.tolist(), tf.string) if of_strings else tf.constant(values), shape)
            if ragged and len(places) and places[:, 0].max() == shape[0] - 1:
                made[key] = tf.RaggedTensor.from_value_rowids(made[key].values, places[:, 0], nrows=shape[0])
        return made


def run(build, features, values=None):
    """The output, the gradients by variable's name and the variables' values, of a graph; from given values or the initializers'."""
    with tf.Graph().as_default(), V1.Session() as session:
        tf.compat.v1.set_random_seed(3)
        output = build(features())
        variables = V1.trainable_variables()
        gradients = [None if g is None else tf.convert_to_tensor(g) for g in tf.gradients(loss_of(output), variables)] if variables else []
        session.run([V1.global_variables_initializer(), V1.tables_initializer()])
        if values is not None:
            for variable in variables:
                variable.load(values[variable.op.name], session)
        names = [variable.op.name for variable in variables]
        pairs = [(name, gradient) for name, gradient in zip(names, gradients, strict=True) if gradient is not None]
        found = session.run([output, [gradient for _, gradient in pairs], variables])
        return found[0], dict(zip([name for name, _ in pairs], found[1], strict=True)), dict(zip(names, found[2], strict=True))


def loss_of(output):
    """A scalar to which all of the output's elements contribute differently."""
    return tf.reduce_sum(tf.reshape(output, [-1]) * tf.sin(tf.range(tf.cast(tf.size(output), tf.float32)) + 1))


def assert_same(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
    assert {name: value.shape for name, value in found[2].items()} == {name: value.shape for name, value in expected[2].items()}
    assert found[1].keys() == expected[1].keys()
    COUNTS["lists of columns in graphs"] += 1
    COUNTS["gradients in graphs"] += len(expected[1])
    for name, gradient in expected[1].items():
        np.testing.assert_allclose(found[1][name], gradient, rtol=1e-4, atol=1e-5, err_msg=name)


def examples(count):
    """Settings for as many lists of columns; without shrinking, as each takes its time."""
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    health = list(hypothesis.HealthCheck)
    return hypothesis.settings(
        max_examples=count, deadline=None, derandomize=True, suppress_health_check=health, database=None, phases=phases
    )


def scoped(layer, partitions):
    def build(features):
        if not partitions:
            return layer(features)
        with V1.variable_scope("model", partitioner=V1.fixed_size_partitioner(partitions)):
            return layer(features)

    return build


def check_input_layer(data, vocabulary):
    case = Case(data.draw, vocabulary, smallest=0)
    case.do_fusion = data.draw(st.sampled_from(["v2", "v2", "v1", True, None, False]))
    makers = [case.dense() for _ in range(data.draw(st.integers(1, 5)))]
    partitions = data.draw(st.sampled_from([0, 0, 2]))

    def layer(fc):
        return scoped(lambda features: fc.input_layer(features, [column for make in makers for column in make(fc)]), partitions)

    expected = run(layer(stock), case.tensors)
    assert_same(run(layer(ours), lambda: case.tensors(ragged=True), expected[2]), expected)
    # eager: the tables belong to the columns
    columns = [column for make in makers for column in make(ours)]
    for column in columns:
        if isinstance(column, ours.EmbeddingColumn):
            column.variable().assign(table_of(expected[2], f"input_layer/{column._var_scope_name}/embedding_weights"))
    features = case.tensors(ragged=True)
    for _ in range(2):
        with tf.GradientTape(persistent=True) as tape:
            output = ours.input_layer(features, columns)
            loss = loss_of(output)
        np.testing.assert_allclose(output, expected[0], rtol=1e-5, atol=1e-6)
    compare_gradients(tape, loss, expected)


def compare_gradients(tape, loss, expected):
    """The gradients of all variables of eager mode, whose names go on like those in the graph after the layer's."""
    COUNTS["lists of columns in eager mode"] += 1
    for variable in tape.watched_variables():
        gradient = tape.gradient(loss, variable)
        name = variable.name.removesuffix(":0").split("/", 1)[1]
        if gradient is None:
            assert not any(key.endswith(name) for key in expected[1])
            continue
        COUNTS["gradients in eager mode"] += 1
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), table_of(expected[1], name), rtol=1e-4, atol=1e-5, err_msg=name)


def table_of(values, name):
    """A variable's value of a run, put together of its parts."""
    found = {key: value for key, value in values.items() if f"/{key}".endswith(f"/{name}") or f"/{name}/part_" in f"/{key}"}
    assert found, (name, list(values))
    return np.concatenate([found[key] for key in sorted(found)])


def check_linear_model(data, vocabulary):
    case = Case(data.draw, vocabulary)  # stock's linear_model fails for an empty batch
    case.do_fusion = data.draw(st.sampled_from(["v2", "v1", True, None, False]))
    makers = [case.dense() for _ in range(data.draw(st.integers(0, 2)))]
    bare = [case.categorical() for _ in range(data.draw(st.integers(1, 3)))]
    makers += [lambda fc, make=make: [make(fc)] for make in bare]
    options = {"units": data.draw(st.integers(1, 3)), "sparse_combiner": data.draw(st.sampled_from(["sum", "mean", "sqrtn"]))}
    partitions = data.draw(st.sampled_from([0, 0, 2]))

    def layer(fc):
        extra = {"do_fusion": case.do_fusion} if fc is ours else {}

        def model(features):
            return fc.linear_model(features, [column for make in makers for column in make(fc)], **options, **extra)

        return scoped(model, partitions)

    blank = run(layer(stock), case.tensors)
    random = np.random.default_rng(5)
    values = {name: random.normal(size=value.shape).astype(np.float32) for name, value in blank[2].items()}
    expected = run(layer(stock), case.tensors, values)
    assert_same(run(layer(ours), lambda: case.tensors(ragged=True), values), expected)
    # eager: the model holds its weights
    columns = [column for make in makers for column in make(ours)]
    model = ours.LinearModel(columns, **options, do_fusion=case.do_fusion)
    features = case.tensors(ragged=True)
    model(features)
    held = {variable.name: variable for variable in model.variables}
    for name, variable in held.items():
        tail = "/".join(name.removesuffix(":0").split("/")[1:])
        variable.assign(table_of(values, tail))
    np.testing.assert_allclose(tf.function(model)(features), expected[0], rtol=1e-4, atol=1e-5)
    with tf.GradientTape(persistent=True) as tape:
        output = model(features)
        loss = loss_of(output)
    np.testing.assert_allclose(output, expected[0], rtol=1e-4, atol=1e-5)
    assert len(model.variables) == len(held)
    compare_gradients(tape, loss, expected)


def check_sequences(data, vocabulary):
    case = Case(data.draw, vocabulary, sequence=True)
    case.do_fusion = data.draw(st.sampled_from(["v2", "v1", True, None, False]))
    makers = [case.dense() for _ in range(data.draw(st.integers(1, 3)))]

    def layer(fc):
        def build(features):
            columns = sorted((column for make in makers for column in make(fc)), key=lambda column: column.name)
            if fc is ours:
                return ours.sequence_input_layer(features, columns).tensor
            builder = feature_builder(features)
            made = []
            with V1.variable_scope(None, default_name="sequence_input_layer"):
                for column in columns:
                    with V1.variable_scope(None, default_name=column._var_scope_name):
                        made.append(column._get_sequence_dense_tensor(builder).dense_tensor)
            return tf.concat(made, axis=2)

        return build

    expected = run(layer(stock), case.tensors)
    assert_same(run(layer(ours), case.tensors, expected[2]), expected)


def feature_builder(features):
    from tensorflow.python.feature_column import feature_column as fc_v1

    return fc_v1._LazyBuilder(features)


@examples(15)
@hypothesis.given(data=st.data())
def test_input_layer(data, vocabulary):
    check_input_layer(data, vocabulary)


@examples(10)
@hypothesis.given(data=st.data())
def test_linear_model(data, vocabulary):
    check_linear_model(data, vocabulary)


@examples(6)
@hypothesis.given(data=st.data())
def test_sequence_input_layer(data, vocabulary):
    check_sequences(data, vocabulary)


@pytest.mark.slow
@examples(200)
@hypothesis.given(data=st.data())
def test_input_layer_at_length(data, vocabulary):
    check_input_layer(data, vocabulary)


@pytest.mark.slow
@examples(150)
@hypothesis.given(data=st.data())
def test_linear_model_at_length(data, vocabulary):
    check_linear_model(data, vocabulary)


@pytest.mark.slow
@examples(60)
@hypothesis.given(data=st.data())
def test_sequence_input_layer_at_length(data, vocabulary):
    check_sequences(data, vocabulary)
