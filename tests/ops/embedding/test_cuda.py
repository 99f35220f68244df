"""The CUDA kernels: they compile where nvcc is, and run where a GPU is, alone and as ops."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ops.embedding import Feature, grouped_lookup
from ops.embedding.grouped import has_gpu_kernels
from ops.embedding.update import FusedAdagrad, FusedFtrl, FusedLazyAdamW, FusedSgd
from ops.lookup import lookup_positions

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = sorted((REPOSITORY / "ops/cc/cuda").glob("*.cu.cc"))
NO_GPU = 77
on_gpu = pytest.mark.skipif(
    not tf.config.list_physical_devices("GPU") or not has_gpu_kernels(),
    reason="needs a GPU, TensorFlow for GPUs and a library built with CUDA",
)


@pytest.mark.skipif(not (REPOSITORY / "ops/cc/cuda").is_dir(), reason="a wheel is tested: the kernels' sources are not here")
def test_the_kernels_include_no_tensorflow():
    files = [path for path in (REPOSITORY / "ops/cc/cuda").iterdir() if path.suffix in (".cc", ".cuh", ".h")]
    assert len(files) >= 5
    for path in files:
        assert "tensorflow/" not in path.read_text(), path


@pytest.mark.slow
def test_the_kernels_compile_and_agree_with_loops_on_the_host(tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("the CUDA kernels need nvcc to be compiled")
    driver = Path(__file__).with_name("cc") / "embedding_cuda_driver.cu"
    program = tmp_path / "driver"
    flags = ["-std=c++17", "-O1", "--extended-lambda", "-arch=sm_80", f"-I{REPOSITORY}", "-x", "cu"]
    subprocess.run(["nvcc", *flags, *map(str, SOURCES), str(driver), "-o", str(program)], check=True)
    run = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    if run.returncode == NO_GPU:
        pytest.skip("compiled; there is no GPU to run it")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("ok\n")


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a GPU")
def test_the_check_for_gpus_says_that_there_is_none(tmp_path):
    script = REPOSITORY / "benchmarks/gpu_check/check"
    if not script.is_file():
        pytest.skip("a wheel is tested: the benchmarks are not here")
    done = subprocess.run([script, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == NO_GPU
    assert "there is no GPU here" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_ops_side_compiles():
    if shutil.which("g++") is None:
        pytest.skip("the GPU kernels' ops need g++ to be compiled")
    flags = ["-std=c++17", "-fsyntax-only", "-DNANN_CUDA=1", "-DEIGEN_MAX_ALIGN_BYTES=64", f"-I{REPOSITORY}"]
    source = REPOSITORY / "ops/cc/embedding_gpu_kernels.cc"
    subprocess.run(["g++", *flags, f"-isystem{tf.sysconfig.get_include()}", str(source)], check=True)


@on_gpu
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
@pytest.mark.parametrize("combiner", ["mean", "sqrtn", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("max_norm", [None, 1.5])
def test_lookups_and_gradients_equal_those_of_the_cpu(oracle, dtype, combiner, weighted, max_norm):
    rng = np.random.default_rng(8)
    tolerance = {tf.float16: 5e-3, tf.bfloat16: 3e-2, tf.float32: 2e-5, tf.float64: 1e-11}[dtype]
    for default_id, ragged, id_dtype in ((None, True, tf.int64), (0, False, tf.int32), (3, False, tf.int64)):
        options = {"combiner": combiner, "max_norm": max_norm, "default_id": default_id, "ragged": ragged, "id_dtype": id_dtype}
        case = oracle.random_case(rng, dtype, dim=17, weighted=weighted, **options)
        found = {}
        for device in ("CPU:0", "GPU:0"):
            with tf.device(device):
                table = tf.Variable(case.table)
                weights = None if case.weights is None else tf.constant(case.weights, dtype)
                direction = tf.cast(tf.reshape(tf.range((len(case.splits) - 1) * 17) % 5, [-1, 17]), dtype)
                results = oracle.value_and_gradients(lambda t, w, case=case: oracle.fused_lookup(t, case, w), table, weights, direction)
                found[device] = [tf.cast(tensor, tf.float64).numpy() for tensor in results[:3] if tensor is not None]
        for gpu, cpu in zip(found["GPU:0"], found["CPU:0"], strict=True):
            np.testing.assert_allclose(gpu, cpu, rtol=tolerance, atol=tolerance)


@on_gpu
@pytest.mark.parametrize("make", [FusedSgd, FusedAdagrad, FusedLazyAdamW, FusedFtrl])
def test_updates_equal_those_of_the_cpu(make):
    start = np.random.default_rng(1).normal(size=(40, 9)).astype(np.float32)
    ids, gradient = tf.ragged.constant([[3, 3, 7], [], [39, 3]], dtype=tf.int64), tf.ones([3, 9])
    tables = []
    for device in ("CPU:0", "GPU:0"):
        with tf.device(device):
            table = tf.Variable(start)
            optimizer = make([table], 0.1)
            for _ in range(3):
                optimizer.apply([Feature(table, ids)], [gradient])
                optimizer.apply_rows([(tf.IndexedSlices(tf.ones([3, 9]), tf.constant([5, 7, 5])), table)])
            tables.append(table.numpy())
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-5, atol=1e-6)


@on_gpu
def test_positions_on_the_gpu():
    with tf.device("GPU:0"):
        table = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))
        with tf.GradientTape() as tape:
            found = lookup_positions([table], [tf.constant([[3, 0], [1, 3]])])
        dense = tf.convert_to_tensor(tape.gradient(found, table))
    np.testing.assert_array_equal(found[0], [[9, 10, 11], [0, 0, 0]])
    np.testing.assert_array_equal(dense[:, 0], [0, 1, 0, 2])


@on_gpu
def test_checked_mode_names_the_id(monkeypatch):
    monkeypatch.setenv("NANN_CHECK_IDS_ON_GPU", "1")
    with tf.device("GPU:0"):
        table = tf.Variable(tf.ones([6, 2]))
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"must lie in \[0, 6\), got id 9 at position 1"):
            grouped_lookup([Feature(table, tf.ragged.constant([[1, 9]], dtype=tf.int64))])
