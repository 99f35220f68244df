"""How many cores this process may use, and thread pools of that size."""

from __future__ import annotations

import math
import os
from pathlib import Path

# TensorFlow, OpenMP and OpenBLAS make a thread for every core of the machine unless these say otherwise before they are loaded.
POOLS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def available_cores(root: Path = Path("/")) -> int:
    """Cores of the process's affinity, or its control group's quota of processor time, rounded up, where that is less.

    Args:
        root: where ``proc`` and ``sys`` are mounted.
    """
    cores = len(os.sched_getaffinity(0))
    quota = min(_quotas(root), default=math.inf)
    return max(1, min(cores, math.ceil(quota))) if quota < cores else cores


def limit_thread_pools() -> None:
    """Sizes the pools of libraries that are not loaded yet to `available_cores`; a variable that is set already stands."""
    cores = str(available_cores())
    for name in POOLS:
        os.environ.setdefault(name, cores)


def _quotas(root: Path) -> list[float]:
    """Processor time per time of the control groups this process is in, as far as they limit it, from its own up to the outermost."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        own = mount / path.lstrip("/")
        for group in (own, *own.parents):
            if (quota := _quota(group)) is not None:
                found.append(quota)
            if group == mount:
                break
    return found


def _quota(group: Path) -> float | None:
    """The quota in a control group's directory: ``cpu.max`` of version 2, ``cpu.cfs_*_us`` of version 1; None where there is none."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period"))
        return None if quota in ("max", "-1") else float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
