"""Conversion: wall time, processor time, peak memory and size, against a straightforward Python loop and the floors of the machine.

    python benchmarks/convert.py --rows 2000000 --rounds 3
    python benchmarks/convert.py --rows 100150807 --only convert-user   (12 GB of disk)
    python benchmarks/convert.py --rows 10000000 --damaged --only convert-user

Every measurement is a process of its own (so that peak memory is its own), the contenders take turns, and the table shows medians.
"start" are the imports, which are not in the other columns. The log has UserBehavior's shape (`data_prep.generate_large`). Expected on two
quiet cores: `docs/results/convert.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
COPY_BYTES = 1 << 24
CONVERSIONS = ("convert-user", "convert-sample")
LOOP = "python-loop"
KEYS = ("start_seconds", "seconds", "cpu_seconds", "peak_mib")


def read_bytes(log: Path, out: Path) -> dict:
    """The floor of reading: every byte once."""
    with log.open("rb", buffering=0) as file:
        while file.read(COPY_BYTES):
            pass
    return {}


def read_pyarrow(log: Path, out: Path) -> dict:
    """The floor of parsing: the four columns as Arrow arrays, all threads, everything in memory."""
    import pyarrow.csv as csv

    names = ["user", "item", "category", "behavior", "time"]
    csv.read_csv(log, csv.ReadOptions(column_names=names), convert_options=csv.ConvertOptions(include_columns=[*names[:3], names[4]]))
    return {}


def write_bytes(log: Path, out: Path, share: float) -> dict:
    """The floor of writing: about what the user layout has (a fifth of the log), or the sample layout (nine and a half logs)."""
    block, left = b"\x5a" * COPY_BYTES, int(share * log.stat().st_size)
    with (out / "bytes").open("wb", buffering=0) as file:
        while left > 0:
            left -= file.write(block[:left])
    return {"size_bytes": (out / "bytes").stat().st_size}


def convert(log: Path, out: Path, **options: object) -> dict:
    """Our converter, artifact and digests included."""
    from data_prep.config import ConvertConfig
    from nann.steps.convert import convert as convert_step

    result = convert_step(inputs=[log], dataset=out / "dataset", config=ConvertConfig(**options))
    size = sum(path.stat().st_size for path in (out / "dataset").iterdir())
    return {"size_bytes": size, "samples": result.metrics["num_samples_train"], "dropped": result.metrics["num_dropped_rows"]}


def python_loop(log: Path, out: Path) -> dict:
    """The straightforward converter, whose dataset is equal (`python_converter/converter.py`)."""
    from python_converter.converter import convert_in_python

    found = convert_in_python(log, out)
    return {
        "size_bytes": (out / "train.tfrecord").stat().st_size,
        "samples": found["num_samples_train"],
        "dropped": found["num_dropped_rows"],
    }


CONTENDERS: dict[str, Callable[..., dict]] = {
    "read-bytes": read_bytes,
    "read-pyarrow": read_pyarrow,
    "write-user": lambda log, out: write_bytes(log, out, 0.19),
    "write-sample": lambda log, out: write_bytes(log, out, 9.5),
    "convert-user": lambda log, out: convert(log, out, **OPTIONS),
    "convert-sample": lambda log, out: convert(log, out, layout="sample", **OPTIONS),
    LOOP: python_loop,
}
OPTIONS: dict[str, object] = {}


def run_one(name: str, log: Path, options: dict) -> None:
    """Runs a contender in this process and prints its measurement as JSON; imports are measured apart."""
    OPTIONS.update(options)
    begin = time.perf_counter()
    if name in CONVERSIONS:
        import numpy.ma
        import numpy.random  # noqa: F401 (Arrow and numpy import these two when they first need them)

        import nann.steps.convert  # noqa: F401
    elif name == LOOP:
        import python_converter.converter  # noqa: F401
        import tensorflow as tf

        tf.constant(0)
    else:
        import pyarrow.csv  # noqa: F401
    start_seconds = time.perf_counter() - begin
    with tempfile.TemporaryDirectory(dir=log.parent) as directory:
        begin, processor = time.perf_counter(), time.process_time()
        result = CONTENDERS[name](log, Path(directory))
        result["seconds"], result["cpu_seconds"] = time.perf_counter() - begin, time.process_time() - processor
    result["start_seconds"] = start_seconds
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("RESULT " + json.dumps(result))


def measure(name: str, log: Path, options: dict) -> dict:
    """Runs a contender in a process of its own."""
    command = [sys.executable, __file__, "--run", name, "--log", str(log), "--options", json.dumps(options)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT ")).removeprefix("RESULT "))


def damage(log: Path, every: int) -> int:
    """Puts one malformed line of every kind after each ``every`` rows; returns the number of lines."""
    kinds = [b"x,1,1,pv,1511600000", b",1,1,pv,1511600000", b"1,1.5,1,pv,1511600000", b"1,1,blue,pv,1511600000", b"1,1,1,pv,yesterday"]
    kinds += [
        b"1,1,1,pv,-5",
        b"1,1,1",
        b"1,1,1,pv,1511600000,6",
        b'"1,1,1,pv,1511600000',
        b"\xff\xfe,1,1,pv,1511600000",
        b"0x1f,1,1,pv,1511600000",
    ]
    damaged, count, bad = log.with_suffix(".damaged"), 0, 0
    with log.open("rb") as source, damaged.open("wb") as target:
        for line in source:
            target.write(line)
            count += 1
            if count % every == 0:
                target.write(b"".join(kind + b"\n" for kind in kinds))
                bad += len(kinds)
    os.replace(damaged, log)
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop-rows", type=int, default=100_000, help="rows of the Python loop, which is measured on a log of its own")
    parser.add_argument("--only", action="append", choices=list(CONTENDERS))
    parser.add_argument("--damaged", action="store_true", help="put 11 kinds of malformed lines after every 500,000 rows")
    parser.add_argument("--memory-limit", type=float, default=4.0)
    parser.add_argument("--directory", type=Path, default=None, help="where logs and datasets lie for the time being")
    parser.add_argument("--run", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--options", default="{}", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_one(arguments.run, arguments.log, json.loads(arguments.options))
        return
    from data_prep.generate_large import write_large_log

    options: dict[str, object] = {"memory_limit": arguments.memory_limit}
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        log, small = Path(directory) / "log.csv", Path(directory) / "small.csv"
        rows = {log: write_large_log(log, arguments.rows), small: write_large_log(small, min(arguments.rows, arguments.loop_rows))}
        if arguments.damaged:
            bad = damage(log, 500_000)
            options |= {"max_bad_rows": bad}
            print(f"{bad} malformed rows")
        print(
            f"log: {rows[log]:,} rows, {log.stat().st_size / 1e6:.1f} MB; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )
        names = arguments.only or list(CONTENDERS)
        found: dict[str, list[dict]] = {name: [] for name in names}
        for _ in range(arguments.rounds):
            for name in names:
                found[name].append(measure(name, small if name == LOOP else log, options if name in CONVERSIONS else {}))
        print_table(found, {name: rows[small if name == LOOP else log] for name in names})


def print_table(found: dict[str, list[dict]], rows: dict[str, int]) -> None:
    """One line per contender: medians over the rounds."""
    heads = ("contender", "rows", "start s", "wall s", "cpu s", "rows/s", "us/row", "peak MiB", "out MB", "dropped")
    print(f"{heads[0]:<16}" + "".join(f"{head:>12}" for head in heads[1:]))
    per_row = {}
    for name, results in found.items():
        median = {key: statistics.median(result.get(key, 0) for result in results) for key in KEYS}
        per_row[name] = median["seconds"] / rows[name]
        size, dropped = results[0].get("size_bytes", 0) / 1e6, results[0].get("dropped", 0)
        numbers = (
            f"{rows[name]:,}",
            *(f"{median[key]:.2f}" for key in KEYS[:3]),
            f"{1 / per_row[name]:,.0f}",
            f"{1e6 * per_row[name]:.3f}",
        )
        print(f"{name:<16}" + "".join(f"{text:>12}" for text in (*numbers, f"{median['peak_mib']:.0f}", f"{size:.1f}", f"{dropped:,}")))
    if LOOP in found:
        for name in set(CONVERSIONS) & set(found):
            print(f"{name}: {per_row[LOOP] / per_row[name]:,.0f} times the rows/s of the Python loop")
    sizes = {name: results[0].get("size_bytes", 0) for name, results in found.items()}
    if all(name in sizes for name in CONVERSIONS):
        print(f"the user layout has 1/{sizes['convert-sample'] / sizes['convert-user']:.1f} of the bytes of the sample layout")


if __name__ == "__main__":
    main()
