"""Stock TensorFlow as the oracle, and random lookups to compare on."""

import dataclasses
import fcntl
import functools
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context, execute, record

from ops import native
from ops.embedding import Feature, grouped_lookup


@dataclasses.dataclass
class Case:
    """Ids, weights and options of one lookup, as numpy arrays in ragged form."""

    table: np.ndarray
    values: np.ndarray
    splits: np.ndarray
    weights: np.ndarray | None
    combiner: str = "mean"
    max_norm: float | None = None
    default_id: int | None = None
    prune: bool = True
    fill: bool = True
    ragged: bool = False
    id_dtype: tf.DType = tf.int64

    def structure(self, values):
        if self.ragged:
            return tf.RaggedTensor.from_row_splits(values, tf.constant(self.splits, tf.int64))
        rows = np.repeat(np.arange(len(self.splits) - 1), np.diff(self.splits))
        columns = np.arange(len(self.values)) - self.splits[rows] if len(rows) else np.zeros(0, np.int64)
        shape = [len(self.splits) - 1, max(1, int(np.diff(self.splits).max(initial=0)))]
        indices = np.stack([rows, columns], axis=1).astype(np.int64) if len(rows) else np.zeros((0, 2), np.int64)
        return tf.SparseTensor(indices, values, shape)

    def ids(self):
        return self.structure(tf.constant(self.values, self.id_dtype))

    def sparse_ids(self):
        return dataclasses.replace(self, ragged=False).ids()


def random_case(rng, dtype=tf.float32, *, rows=12, dim=8, batch=9, weighted=False, negatives=True, **options):
    lengths = rng.integers(0, 5, size=batch)
    lengths[rng.integers(0, batch)] = 0
    lengths[-1] *= rng.integers(0, 2)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.integers(-2 if negatives else 0, rows, size=splits[-1])
    weights = None
    if weighted:
        weights = np.round(rng.normal(0.5 if negatives else 2.0, 1.0 if negatives else 0.2, size=splits[-1]), 1)
    return Case(rng.normal(size=(rows, dim)).astype(dtype.as_numpy_dtype), values, splits, weights, **options)


def stock_lookup(table, case: Case, weights):
    """Stock TensorFlow's answer, by `safe_embedding_lookup_sparse` where it can say it, by the parts of that function elsewhere."""
    ids = case.sparse_ids()
    sparse_weights = None if weights is None else tf.SparseTensor(ids.indices, weights, ids.dense_shape)
    default_id = case.default_id if case.fill else None
    if case.prune:
        return tf.compat.v1.nn.safe_embedding_lookup_sparse(
            table, ids, sparse_weights, combiner=case.combiner, default_id=default_id, max_norm=case.max_norm
        )
    filled, empty = tf.sparse.fill_empty_rows(ids, default_id or 0)
    if sparse_weights is not None:
        sparse_weights, _ = tf.sparse.fill_empty_rows(sparse_weights, tf.ones([], weights.dtype))
    pooled = tf.nn.embedding_lookup_sparse(table, filled, sparse_weights, combiner=case.combiner, max_norm=case.max_norm)
    return pooled if default_id is not None else tf.where(empty[:, tf.newaxis], tf.zeros_like(pooled), pooled)


def fused_lookup(table, case: Case, weights, *, fused=True):
    feature = Feature(
        table=table,
        ids=case.ids(),
        weights=None if weights is None else case.structure(weights),
        combiner=case.combiner,
        max_norm=case.max_norm,
        default_id=case.default_id,
        prune=case.prune,
        fill_empty_row=case.fill,
    )
    return grouped_lookup([feature], fused=fused)[0]


def value_and_gradients(lookup, table, weights, direction):
    """The pooled rows, the dense gradient of the table, and that of the weights (None without), for loss sum(pooled * direction)."""
    with tf.GradientTape() as tape:
        tape.watch(table)
        if weights is not None:
            tape.watch(weights)
        pooled = lookup(table, weights)
        loss = tf.reduce_sum(pooled * tf.cast(direction, pooled.dtype))
    sources = [table] if weights is None else [table, weights]
    found = tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return pooled, tf.convert_to_tensor(found[0]), None if weights is None else tf.convert_to_tensor(found[1]), found[0]


@pytest.fixture(scope="session", autouse=True)
def _needs_library():
    if native.load_library() is None:
        pytest.skip("the native library is not built; run `make install`")


# Tests of these modules run twice: with the CPU's kernels, and with those for GPUs on the CPU.
ON_BOTH = {"test_oracle", "test_edges", "test_update", "test_stages"}
IN_PROCESSES_OF_THEIR_OWN = {"test_bits_do_not_depend_on_the_run_or_the_threads"}


def pytest_generate_tests(metafunc):
    if metafunc.module.__name__.rpartition(".")[2] in ON_BOTH and metafunc.function.__name__ not in IN_PROCESSES_OF_THEIR_OWN:
        metafunc.fixturenames.append("kernels")
        metafunc.parametrize("kernels", ["cpu", pytest.param("gpu on host", marks=pytest.mark.slow)], indirect=True)


@pytest.fixture
def kernels(request, monkeypatch):
    """Which kernels the fused ops take."""
    if request.param == "cpu":
        return
    monkeypatch.setenv("NANN_CHECK_IDS_ON_GPU", "1")
    monkeypatch.setenv("CUDA_ON_HOST_ORDER", "random:1")
    library = request.getfixturevalue("cuda_on_host").ops()
    monkeypatch.setattr(native, "load_library", lambda: library)


class LabelledOps:
    """The native ops, those with GPU kernels under the label that the test library registers these for the CPU with.

    A label is an attribute of a graph's node, so an eager call runs a graph of one node; its gradient is recorded as of any eager call.
    """

    LABEL = "cuda_on_host"

    def __init__(self, module):
        self.native = module
        self.calls = {}

    def __getattr__(self, name):
        function, fallback = getattr(self.native, name), getattr(self.native, f"{name}_eager_fallback", None)
        if not name.startswith("nann_fused_embedding"):
            return function
        op_name = "Nann>" + "".join(part.capitalize() for part in name.removeprefix("nann_").split("_"))

        def in_graph(arguments):
            self.calls[op_name] = self.calls.get(op_name, 0) + 1
            with tf.compat.v1.get_default_graph()._kernel_label_map({op_name: self.LABEL}):
                outputs = function(**arguments)
            return None if isinstance(outputs, tf.Operation) else outputs

        def call(**arguments):
            if not tf.executing_eagerly():
                return in_graph(arguments)

            with record.stop_recording():
                outputs = tf.function(lambda: in_graph(arguments), autograph=False)()
            flat = [output for output in tf.nest.flatten(outputs) if output is not None]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(execute, "execute", lambda *_, **__: flat)
                return fallback(**{"name": None, **arguments}, ctx=context.context())

        return call


@pytest.fixture(scope="session")
def oracle():
    """The helpers of this file."""
    return SimpleNamespace(
        Case=Case, random_case=random_case, stock_lookup=stock_lookup, value_and_gradients=value_and_gradients, fused_lookup=fused_lookup
    )


@pytest.fixture(scope="session")
def cuda_on_host():
    """The CUDA kernels built for the CPU, into build/cuda_on_host; `build(target)` gives the path of what it built."""
    repository = Path(__file__).resolve().parents[3]
    source, build = Path(__file__).with_name("cc") / "cuda_on_host", repository / "build/cuda_on_host"
    beside = Path(sys.executable).parent
    cmake, ninja = (shutil.which(name, path=str(beside)) or shutil.which(name) for name in ("cmake", "ninja"))
    if cmake is None or ninja is None:
        pytest.skip("needs cmake and ninja")
    facts = {
        "CMAKE_MAKE_PROGRAM": ninja,
        "TENSORFLOW_INCLUDE": tf.sysconfig.get_include(),
        "TENSORFLOW_LIB": tf.sysconfig.get_lib(),
        "TENSORFLOW_ABI": tf.sysconfig.CXX11_ABI_FLAG,
    }
    settings = [f"-D{name}={value}" for name, value in facts.items()]
    build.mkdir(parents=True, exist_ok=True)

    def call(*arguments):
        with open(build / ".lock", "w") as lock:  # other processes may run tests that want it too
            fcntl.flock(lock, fcntl.LOCK_EX)
            return subprocess.run([cmake, *arguments], check=False, capture_output=True, text=True)

    configured = call("-S", str(source), "-B", str(build), "-G", "Ninja", *settings)
    assert configured.returncode == 0, configured.stderr[-5000:]

    def build_target(target):
        done = call("--build", str(build), "--target", target)
        assert done.returncode == 0, done.stdout[-5000:]
        return build / target

    @functools.cache
    def ops():
        tf.load_op_library(str(build_target("ops")))
        return LabelledOps(native.load_library())

    return SimpleNamespace(build=build_target, ops=ops)
