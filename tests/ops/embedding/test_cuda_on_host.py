"""The CUDA kernels executed on the CPU: every access checked, in several orders of execution, and with faults planted."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ops import native
from ops.embedding import Feature, grouped_lookup
from ops.embedding.update import FusedAdagrad, FusedFtrl, FusedLazyAdamW, FusedSgd
from ops.lookup import lookup_positions

REPOSITORY = Path(__file__).resolve().parents[3]
KERNELS = REPOSITORY / "ops/cc/cuda"
SOURCES = Path(__file__).with_name("cc")
ORDERS = ["forward", "backward", "random:1"]

FORMS = ["Lookup", "Grad", "WeightsGrad", "Positions"]
OPS_WITH_GPU_KERNELS = [f"Nann>FusedEmbedding{form}{resource}" for form in FORMS for resource in ("", "Resource")]
OPS_WITH_GPU_KERNELS += ["Nann>FusedEmbeddingUpdate", "Nann>FusedEmbeddingUpdateRows", "Nann>FusedEmbeddingPositionsGrad"]

pytestmark = pytest.mark.skipif(
    not KERNELS.is_dir() or shutil.which("g++") is None, reason="needs the kernels' sources, which a wheel lacks, and g++"
)


def run(program, *arguments, order="forward"):
    environment = {**os.environ, "CUDA_ON_HOST_ORDER": order, "ASAN_OPTIONS": "detect_leaks=0:hard_rss_limit_mb=4096"}
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False, env=environment)


def digests(program, *arguments, orders):
    found = {}
    for order in orders:
        done = run(program, *arguments, order=order)
        assert done.returncode == 0, f"{order}: {done.stderr[-3000:]}"
        assert done.stdout.startswith("ok\n"), done.stdout
        found[order] = done.stdout
    return found


def test_kernels_agree_with_loops_on_the_host_in_every_order(cuda_on_host):
    found = digests(cuda_on_host.build("driver"), "quick", orders=ORDERS)
    assert len(set(found.values())) == 1, found


@pytest.mark.slow
def test_all_cases_in_more_orders(cuda_on_host):
    found = digests(cuda_on_host.build("driver"), orders=[*ORDERS, "random:2", "random:3"])
    assert len(set(found.values())) == 1, found


@pytest.mark.slow
def test_kernels_are_clean_under_the_address_sanitizer(cuda_on_host):
    digests(cuda_on_host.build("driver-asan"), orders=["forward", "backward"])


def test_an_order_that_is_none_is_refused(cuda_on_host):
    done = run(cuda_on_host.build("driver"), "quick", order="sideways")
    assert done.returncode == 1
    assert "must be forward, backward or random:SEED, got sideways" in done.stderr


# Each fault: the file it is planted in, the text it replaces, and what must be reported.
FAULTS = {
    "missing barrier": (
        "ops/cc/cuda/embedding_backward.cu.cc",
        r"(out\[column \+ i\] = sum;\s+\})\s+__syncthreads\(\);",
        r"\1",
        r"SumHeavyKernel.*no barrier lies between .* of the same bytes.*in shared memory",
    ),
    "wrong mask": (
        "ops/cc/cuda/embedding_device.cuh",
        r"kLanes == 32 \? 0xffffffffu : [^;]+;",
        r"0xffffffffu;",
        r"ForwardKernel.*(names lane|names this lane|no thread can go on).*",
    ),
    "off by one in a split": (
        "ops/cc/cuda/embedding_sort.cu.cc",
        r"row <= num_rows; row \+= step",
        r"row < num_rows; row += step",
        r"never written",
    ),
    "a step too long": (
        "ops/cc/cuda/embedding_forward.cu.cc",
        r"kThreads / kLanes;(\s+for)",
        r"kThreads;\1",
        r"differs: forward|never written",
    ),
    "lost tail of a block": (
        "ops/cc/cuda/embedding_forward.cu.cc",
        r"/ kLanes; row < feature\.num_rows; row \+= step",
        r"/ kLanes; row < feature.num_rows / 4 * 4; row += step",
        r"differs: forward",
    ),
    "a row too many": (
        "ops/cc/cuda/embedding_forward.cu.cc",
        r"/ kLanes; row < feature\.num_rows; row \+= step",
        r"/ kLanes; row <= feature.num_rows; row += step",
        r"ForwardKernel.*a read of 8 bytes outside of device memory",
    ),
    "a pointer of the host": (
        "ops/cc/cuda/embedding_sort.cu.cc",
        r"numbers, count, copy, num_parts",
        r"numbers, count, parts, num_parts",
        r"PartsKernel.*of memory of the host",
    ),
    "unstable order": (
        "tests/ops/embedding/cc/cuda_on_host/runtime.cc",
        r"return part\(a\) < part\(b\);",
        r"return part(a) != part(b) ? part(a) < part(b) : a > b;",
        r"differs: the order of",
    ),
}
# The same under AddressSanitizer: an access outside an allocation, and one outside a shared array.
FAULTS_OF_MEMORY = {
    "a row too many": (
        "ops/cc/cuda/embedding_forward.cu.cc",
        r"/ kLanes; row < feature\.num_rows; row \+= step",
        r"/ kLanes; row <= feature.num_rows; row += step",
        r"heap-buffer-overflow[^#]*READ of size 8",
    ),
    "a warp too many": (
        "ops/cc/cuda/embedding_backward.cu.cc",
        r"partial\[warp\]\[v \* 32 \+ lane\] = sums",
        r"partial[warp + 1][v * 32 + lane] = sums",
        r"global-buffer-overflow[^#]*WRITE of size [48](?s:.*)'partial'",
    ),
}
EMULATOR = ["fiber", "grid", "runtime"]
CHECKS = {  # the emulator's memory, flags of the kernels, flags of all files
    "accesses": ("memory_checked", ["-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0"], []),
    "address sanitizer": ("memory_plain", [], ["-fsanitize=address", "-fno-omit-frame-pointer"]),
}


def copy_of_one_type(root, checks):
    """A copy of the kernels for float and int64 alone, built; with a function that builds it with one file changed."""
    memory, for_kernels, for_all = CHECKS[checks]
    for path in KERNELS.iterdir():
        text = re.sub(r"(#define NANN_CUDA_TYPES\(DEFINE\)).*?\n\n", r"\1 DEFINE(float, int64_t)\n\n", path.read_text(), flags=re.DOTALL)
        text = re.sub(r"NANN_DEFINE_TYPE\((Half|BFloat16|double)\)\n", "", text)
        (root / "ops/cc/cuda").mkdir(parents=True, exist_ok=True)
        (root / "ops/cc/cuda" / path.name).write_text(text)
    emulator = "tests/ops/embedding/cc/cuda_on_host"
    shutil.copytree(REPOSITORY / emulator, root / emulator)

    def compile_file(name, source):
        flags = ["-std=c++17", "-O1", "-Wno-psabi", f"-I{root / emulator}", f"-I{root}", f"-I{REPOSITORY}"]
        flags += ["-DNANN_ONE_TYPE", "-DNANN_MOST_BLOCKS=2", "-xc++"]
        checked = for_kernels if source.name.endswith(".cu.cc") else []
        subprocess.run(["g++", *flags, *for_all, *checked, "-c", str(source), "-o", str(root / f"{name}.o")], check=True)

    files = {name: root / emulator / f"{name}.cc" for name in [*EMULATOR, memory]}
    files |= {path.name.split(".")[0]: path for path in (root / "ops/cc/cuda").glob("*.cu.cc")}
    files["driver"] = SOURCES / "embedding_cuda_driver.cu"
    for name, source in files.items():
        compile_file(name, source)

    def build(changed):
        """The program with what the changed file takes part in compiled anew, beside the objects of the others."""
        objects = []
        for name, source in files.items():
            planted = source == changed or (changed.suffix == ".cuh" and name == "embedding_forward")
            if planted:
                compile_file("planted", source)
            objects.append(str(root / f"{'planted' if planted else name}.o"))
        program = root / "driver"
        subprocess.run(["g++", *for_all, *objects, "-o", str(program)], check=True)
        return program

    return root, build


@pytest.fixture(scope="module")
def one_type(tmp_path_factory):
    return copy_of_one_type(tmp_path_factory.mktemp("one_type"), "accesses")


@pytest.fixture(scope="module")
def one_type_under_the_sanitizer(tmp_path_factory):
    return copy_of_one_type(tmp_path_factory.mktemp("one_type"), "address sanitizer")


def assert_reported(copy, fault):
    root, build = copy
    name, pattern, replacement, report = fault
    path = root / name
    text = path.read_text()
    planted, count = re.subn(pattern, replacement, text)
    assert count == 1
    path.write_text(planted)
    try:
        done = run(build(path), "quick")
    finally:
        path.write_text(text)
    assert done.returncode == 1, done.stdout
    assert re.search(report, done.stderr), done.stderr


def test_without_a_planted_fault_nothing_is_reported(one_type):
    root, build = one_type
    done = run(build(root / "nothing"), "quick")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_reported(one_type, fault):
    assert_reported(one_type, FAULTS[fault])


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS_OF_MEMORY)
def test_planted_faults_of_memory_are_reported_by_the_address_sanitizer(one_type_under_the_sanitizer, fault):
    assert_reported(one_type_under_the_sanitizer, FAULTS_OF_MEMORY[fault])


@pytest.fixture
def ops(cuda_on_host, monkeypatch):
    """The native ops with the GPU's kernels on the CPU; ids are checked."""
    monkeypatch.setenv("NANN_CHECK_IDS_ON_GPU", "1")
    library = cuda_on_host.ops()
    monkeypatch.setattr(native, "load_library", lambda: library)
    library.calls.clear()
    return library


def train_a_little(dtype=tf.float32):
    """Calls each op that has a GPU kernel; returns pooled rows, gradients, and the tables after a step of each optimizer."""
    rng = np.random.default_rng(4)
    start = rng.normal(size=(40, 9)).astype(dtype.as_numpy_dtype)
    table, constant = tf.Variable(start), tf.constant(start)
    ids = tf.ragged.constant([[3, 3, 7], [], [39, 3]], dtype=tf.int64)
    weights = ids.with_values(tf.constant([1, 2, 1, 1, 3], dtype))
    found: list = []
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([constant, weights.values])
        found += [grouped_lookup([Feature(each, ids, weights, max_norm=1.5)])[0] for each in (table, constant)]
        places = [tf.constant([[3, 0], [1, 39]])]
        found += [lookup_positions([table], places)[0], lookup_positions([constant], places)[0]]
    for pooled in list(found):
        sources = [table, constant, weights.values]
        gradients = tape.gradient(pooled, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        found += [tf.convert_to_tensor(gradient) for gradient in gradients]
    for make in (FusedSgd, FusedAdagrad, FusedLazyAdamW, FusedFtrl):
        optimizer = make([table], 0.1)
        optimizer.apply([Feature(table, ids)], [tf.ones([3, 9], dtype)])
        optimizer.apply_rows([(tf.IndexedSlices(tf.ones([3, 9], dtype), tf.constant([5, 7, 5])), table)])
        found.append(tf.identity(table))
    return [tf.cast(tensor, tf.float64).numpy() for tensor in found]


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_every_op_with_a_gpu_kernel_equals_that_of_the_cpu(ops, monkeypatch, dtype, order):
    monkeypatch.setenv("CUDA_ON_HOST_ORDER", order)
    found = train_a_little(dtype)
    assert set(ops.calls) == set(OPS_WITH_GPU_KERNELS)
    with monkeypatch.context() as patch:
        patch.setattr(native, "load_library", lambda: ops.native)
        expected = train_a_little(dtype)
    tolerance = {tf.float16: 1e-2, tf.bfloat16: 6e-2, tf.float32: 2e-5, tf.float64: 1e-11}[dtype]
    for ours, cpu in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, cpu, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_a_fault_of_a_kernel_is_an_error_of_its_op(ops, monkeypatch):
    table = tf.Variable(tf.ones([6, 2]))
    monkeypatch.setenv("CUDA_ON_HOST_ORDER", "sideways")
    with pytest.raises(tf.errors.InternalError, match=r"a CUDA kernel failed: .* got sideways"):
        grouped_lookup([Feature(table, tf.ragged.constant([[1]], dtype=tf.int64))])


@pytest.mark.slow
def test_without_the_check_bad_ids_contribute_nothing(ops, monkeypatch):
    monkeypatch.delenv("NANN_CHECK_IDS_ON_GPU")
    table = tf.Variable(tf.ones([6, 2]))
    with tf.GradientTape() as tape:
        pooled = grouped_lookup([Feature(table, tf.ragged.constant([[1, 9], [9]], dtype=tf.int64), combiner="sum")])[0]
    np.testing.assert_array_equal(pooled, [[1, 1], [0, 0]])
    np.testing.assert_array_equal(tf.convert_to_tensor(tape.gradient(pooled, table))[:, 0], [0, 1, 0, 0, 0, 0])
    bad = tf.RaggedTensor.from_row_splits(tf.constant([1, 2]), tf.constant([0, 2, 1, 2]), validate=False)
    np.testing.assert_array_equal(grouped_lookup([Feature(table, bad, combiner="sum")])[0][:, 0], [2, 0, 1])


@pytest.mark.slow
@pytest.mark.parametrize("splits", [[1, 2], [0, 1], [0, 3]])
def test_row_splits_have_to_cover_the_ids(ops, splits):
    ids = tf.RaggedTensor.from_row_splits(tf.constant([1, 2]), tf.constant(splits), validate=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must go from 0 to the number of ids 2"):
        grouped_lookup([Feature(tf.Variable(tf.ones([6, 2])), ids)])
