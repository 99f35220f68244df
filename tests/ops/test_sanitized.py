"""The native library as TensorFlow loads it, built with AddressSanitizer: the quick tests of the ops."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FLAGS = "-fsanitize=address -fno-omit-frame-pointer"
# TensorFlow frees what it allocated at exit or never, and moves much memory: little of it is kept from being used again.
OPTIONS = "detect_leaks=0:quarantine_size_mb=64:malloc_context_size=6:allocator_may_return_null=1:hard_rss_limit_mb=4096"
ELSEWHERE = ("fuzz", "embedding/test_cuda_on_host.py", "embedding/test_cuda.py", "test_fuzz.py")  # these build programs of their own


def built(target: str) -> Path:
    beside = Path(sys.executable).parent
    cmake, ninja = (shutil.which(name, path=str(beside)) or shutil.which(name) for name in ("cmake", "ninja"))
    if cmake is None or ninja is None or shutil.which("g++") is None:
        pytest.skip("needs g++, cmake and ninja")
    directory = REPOSITORY / "build" / "sanitized"
    facts = {"CMAKE_MAKE_PROGRAM": ninja, "Python3_EXECUTABLE": sys.executable, "CMAKE_CXX_FLAGS": FLAGS, "CMAKE_BUILD_TYPE": "None"}
    facts |= {"NANN_CUDA": "OFF", "SKBUILD": "ON", "SKBUILD_STATE": "wheel"}  # a wheel's files stay where they are built
    settings = [f"-D{name}={value}" for name, value in facts.items()]
    subprocess.run([cmake, "-S", str(REPOSITORY), "-B", str(directory), "-G", "Ninja", *settings], check=True, capture_output=True)
    done = subprocess.run([cmake, "--build", str(directory), "--target", target], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    return directory / f"lib{target}.so"


@pytest.mark.slow
def test_the_ops_are_clean_under_the_address_sanitizer() -> None:
    if not (REPOSITORY / "ops" / "cc").is_dir():
        pytest.skip("a wheel is tested: the ops' sources are not here")
    library = built("nann_ops")
    assert b"__asan_report_load8" in library.read_bytes()
    runtime = subprocess.run(["g++", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True).stdout.strip()
    here = Path(__file__).parent
    environment = os.environ | {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": OPTIONS,
        "NANN_LIBRARY_OF_TESTS": str(library),
        "NANN_REQUIRE_NATIVE": "1",
        "PYTHONPATH": str(here / "sanitized"),
        "PYTHONMALLOC": "malloc",
    }
    left_out = [f"--ignore={here / name}" for name in ELSEWHERE]
    words = ["-m", "not slow", "-q", "-x", "-p", "with_library", "-p", "no:cacheprovider", *left_out]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(here)], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-6000:]
