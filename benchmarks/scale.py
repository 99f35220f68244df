"""The whole pipeline on logs of growing size: wall time, processor time, peak memory and bytes of every step.

    .venv/bin/python benchmarks/scale.py --rows 1000000,10000000,100000000 --config pipelines/configs/full_scale.yaml --work runs/scale

A log of UserBehavior's shape is generated (100 rows a user, 24 an item, 443 items a category, the other parameters of `nann generate` as
they stand), and each step runs as the command a user would type, in a process of its own. Peak memory is the largest resident set of that
process. What was measured stays in ``--work``: called again, it goes on. Prints a table a size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from data_prep.cores import available_cores
from data_prep.json_text import write_json

NANN = Path(sys.executable).with_name("nann")
STEPS = ("convert", "train", "extract", "build-index", "rewrite", "evaluate", "benchmark", "report")
ARTIFACTS = ("dataset", "model", "embeddings", "index", "converted_model", "evaluation", "benchmark", "report")
ROWS_A_USER, ROWS_AN_ITEM, ITEMS_A_CATEGORY = 100, 24.0754, 443  # of 100,150,807 rows, 4.16 million items and 9,400 categories
LOAD_EVERY = 10.0


def measured(command: list[str], log: Path) -> dict[str, float]:
    """Runs a command to its end.

    Returns:
        wall seconds, processor seconds, peak MiB and the mean load of the machine meanwhile.

    Raises:
        SystemExit: the command failed.
    """
    loads, begin = [os.getloadavg()[0]], time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.05)
            if time.monotonic() - begin > LOAD_EVERY * len(loads):
                loads.append(os.getloadavg()[0])
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; see {log}")
    return {
        "wall_s": time.monotonic() - begin,
        "processor_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
        "load": sum(loads) / len(loads),
    }


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files below a directory."""
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def sizes(rows: int) -> dict[str, int]:
    """Users, items and categories of a log of so many rows."""
    items = round(rows / ROWS_AN_ITEM)
    return {"users": rows // ROWS_A_USER, "items": items, "categories": max(2, items // ITEMS_A_CATEGORY)}


def run(rows: int, work: Path, config: Path | None) -> dict[str, dict[str, float]]:
    """The figures of generating the log and of every step, kept in a file as they come."""
    directory = work / f"{rows}"
    directory.mkdir(parents=True, exist_ok=True)
    kept, log = directory / "figures.json", directory / "log.csv"
    figures: dict[str, dict[str, float]] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    size = [f"--{name}={value}" for name, value in sizes(rows).items()]
    commands: dict[str, tuple[list[Any], Path]] = {
        "generate": (["generate", "--output", log, *size, f"--events-per-user={ROWS_A_USER}", "--overwrite"], log)
    }
    for step, artifact in zip(STEPS, ARTIFACTS, strict=True):
        given = ["--input", log] if step == "convert" else []
        given += ["--config", config] if config is not None else []
        commands[step] = [step, "--output-root", directory / "run", *given], directory / "run" / artifact
    for name, (command, written) in commands.items():
        if name not in figures:
            found = measured([str(part) for part in (NANN, *command)], directory / f"{name}.log")
            figures[name] = found | {"bytes": bytes_of(written)}
            write_json(kept, figures)
            print(f"{rows:,} rows, {name}: {found['wall_s']:.1f} s", file=sys.stderr, flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1000000,10000000", help="sizes of the log (default: %(default)s)")
    parser.add_argument("--work", type=Path, required=True, help="directory of logs, runs and figures")
    parser.add_argument("--config", type=Path, help="configuration of the steps; default: that of the program")
    options = parser.parse_args()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{platform.processor() or platform.machine()}, {available_cores()} cores, {memory:.0f} GiB, Python {platform.python_version()}")
    for rows in (int(part) for part in options.rows.split(",")):
        figures = run(rows, options.work, options.config)
        print(f"\n{rows:,} rows, " + ", ".join(f"{value:,} {name}" for name, value in sizes(rows).items()))
        print("| step | wall s | processor s | peak MiB | MB written | load |\n|---|---|---|---|---|---|")
        for name, each in figures.items():
            cells = f"{each['wall_s']:,.1f} | {each['processor_s']:,.1f} | {each['peak_mib']:,.0f} | {each['bytes'] / 1e6:,.1f}"
            print(f"| {name} | {cells} | {each['load']:.1f} |")
        wall, processor = (sum(each[key] for each in figures.values()) for key in ("wall_s", "processor_s"))
        peak, written = max(each["peak_mib"] for each in figures.values()), sum(each["bytes"] for each in figures.values())
        print(f"| all | {wall:,.1f} | {processor:,.1f} | {peak:,.0f} | {written / 1e6:,.1f} | |")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
