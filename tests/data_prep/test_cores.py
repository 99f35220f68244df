"""The cores a process may use: affinity and control groups of both versions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.cores import POOLS, available_cores

CORES = len(os.sched_getaffinity(0))


def mount(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.skipif(CORES < 2, reason="one core leaves nothing to limit")
@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, CORES),
        ("0::/\n", {"cpu.max": "110000 100000\n"}, 2),
        ("0::/pod/main\n", {"pod/main/cpu.max": "max 100000\n", "pod/cpu.max": "50000 100000\n"}, 1),
        ("0::/pod\n", {"pod/cpu.max": "9900000 100000\n"}, CORES),
        ("4:cpu,cpuacct:/pod\n3:memory:/pod\n", {"cpu/pod/cpu.cfs_quota_us": "100000\n", "cpu/pod/cpu.cfs_period_us": "100000\n"}, 1),
        ("4:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ("0::/\n", {"cpu.max": "garbage\n"}, CORES),
        ("0::/\n", {}, CORES),
    ],
)
def test_the_least_quota_counts(tmp_path: Path, cgroup: str, files: dict[str, str], expected: int) -> None:
    assert available_cores(mount(tmp_path, cgroup, files)) == expected


def test_affinity_counts() -> None:
    core = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, [{core}]); import data_prep.cores as cores; cores.limit_thread_pools(); "
        "print([os.environ[name] for name in cores.POOLS])"
    )
    environment = {name: value for name, value in os.environ.items() if name not in POOLS} | {"OMP_NUM_THREADS": "7"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    assert found.strip() == str(["7" if name == "OMP_NUM_THREADS" else "1" for name in POOLS])
