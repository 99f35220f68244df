"""Peak memory of `nann convert` against its own estimate and against its limit.

    python benchmarks/convert_memory.py --rows 3000000 30000000 --limits 1GiB 1.5GiB 4GiB

Every conversion is a process of its own, whose peak resident memory the kernel counts (`ru_maxrss`). A limit binds where it makes the
partitions smaller than another one does; it holds where the peak is below it. The log has UserBehavior's shape.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ESTIMATE = re.compile(r"(\d+) partitions of users; about ([\d.]+) GiB of memory of ([\d.]+) GiB")


def convert(log: Path, dataset: Path, limit: str, threads: int) -> str:
    """One conversion; a line of the table."""
    arguments = ["convert", "--input", log, "--dataset", dataset, "--memory-limit", limit, "--threads", threads]
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([sys.executable, "-m", "pipelines.cli", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        errors.seek(0)
        text = errors.read()
    seconds, peak = time.perf_counter() - begin, usage.ru_maxrss / 2**20
    found = ESTIMATE.search(text)
    if found is None or status != 0:
        return f"{limit:>8}  {text.strip().splitlines()[-1]}"
    partitions, estimate, gib = int(found[1]), float(found[2]), float(found[3])
    kept = "yes" if peak <= gib else "NO"
    return f"{limit:>8}{partitions:>12}{estimate:>12.2f}{peak:>10.2f}{estimate / peak:>10.2f}{kept:>8}{seconds:>10.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[3_000_000])
    parser.add_argument("--limits", nargs="+", default=["1GiB", "1.5GiB", "4GiB"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--directory", type=Path, default=None, help="where logs and datasets lie for the time being")
    arguments = parser.parse_args()
    from data_prep.generate_large import write_large_log

    for rows in arguments.rows:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            log = Path(directory) / "log.csv"
            print(f"{write_large_log(log, rows):,} rows, {log.stat().st_size / 2**20:.0f} MiB, {arguments.threads} threads")
            print(f"{'limit':>8}{'partitions':>12}{'estimate':>12}{'peak GiB':>10}{'ratio':>10}{'kept':>8}{'seconds':>10}")
            for number, limit in enumerate(arguments.limits):
                print(convert(log, Path(directory) / f"dataset-{number}", limit, arguments.threads), flush=True)


if __name__ == "__main__":
    main()
