"""Training under a limit of processor time: samples a second with less than the whole machine, against the same training alone.

    .venv/bin/python benchmarks/cpu_limits.py --dataset runs/one/dataset --json build/cpu_limits.json

`nann train` runs as a process of its own, the cases take turns, medians:

- ``alone``: all cores of the machine;
- ``one_core``: pinned to one core with `taskset`, and ``one_core_busy``: the same beside a busy process on that core;
- ``quota``: a control group with a quota of one core of processor time, as a container's ``--cpus 1``; left out where control groups of
  version 1 or 2 cannot be made (that takes root);
- ``busy``: beside one busy process for each core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import tensorflow as tf

from data_prep.json_text import write_json

NANN = Path(sys.executable).with_name("nann")
GROUPS = {
    Path("/sys/fs/cgroup/cpu"): {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"},
    Path("/sys/fs/cgroup"): {"cpu.max": "100000 100000"},
}


def samples_per_s(dataset: Path, steps: int, *, prefix: tuple[str, ...] = (), group: Path | None = None) -> float:
    """Samples a second of a training of ``steps`` steps, the first ones included, in which programs are compiled."""
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model"
        command = [*prefix, str(NANN), "train", "--dataset", str(dataset), "--model", str(model)]
        command += ["--max-steps", str(steps), "--validate-users", "0", "--memory", "none"]

        def enter_group() -> None:
            if group is not None:
                (group / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")

        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=enter_group)
        speeds = json.loads((model / "training_speed.json").read_text(encoding="utf-8"))
        return float(speeds[-1]["samples_per_s"])


@contextmanager
def busy(cores: list[int]) -> Iterator[None]:
    """A process on each core that never waits."""
    processes = [subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"]) for core in cores]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def quota_of_one_core() -> Iterator[Path | None]:
    """A control group with one core's processor time; None where none can be made."""
    for root, files in GROUPS.items():
        group = root / f"nann-{os.getpid()}"
        try:
            group.mkdir()
            for name, text in files.items():
                (group / name).write_text(text, encoding="utf-8")
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    yield None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="artifact of `nann convert`")
    parser.add_argument("--steps", type=int, default=400, help="of each training (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each case (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    pinned = ("taskset", "-c", str(cores[0]))
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        group = stack.enter_context(quota_of_one_core())
        for _ in range(options.repetitions):
            found.setdefault("alone", []).append(samples_per_s(options.dataset, options.steps))
            found.setdefault("one_core", []).append(samples_per_s(options.dataset, options.steps, prefix=pinned))
            with busy(cores[:1]):
                found.setdefault("one_core_busy", []).append(samples_per_s(options.dataset, options.steps, prefix=pinned))
            if group is not None:
                found.setdefault("quota", []).append(samples_per_s(options.dataset, options.steps, group=group))
            with busy(cores):
                found.setdefault("busy", []).append(samples_per_s(options.dataset, options.steps))
    medians = {name: statistics.median(values) for name, values in found.items()}
    print(
        f"{platform.processor() or platform.machine()}, {len(cores)} cores, tensorflow {tf.__version__}, medians of {options.repetitions}"
    )
    print("| case | samples/s | of alone |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:,.0f} | {value / medians['alone']:.0%} |")
    if options.json is not None:
        write_json(
            options.json, medians | {f"share_{name}": value / medians["alone"] for name, value in medians.items() if name != "alone"}
        )


if __name__ == "__main__":
    main()
