"""Builds the fuzzers of this directory and runs them: ``python tests/ops/fuzz/fuzz.py --seconds N [--keep] [TARGET ...]``.

A target is ``TARGET.cc`` with the sources that it is about. It is compiled by clang with libFuzzer under the address and
undefined-behaviour sanitizers, begins with the inputs kept in ``corpus/TARGET``, and ends with exit code 1 and the input's path where it
finds something. ``--keep`` adds inputs that reach new code to the kept ones, as few and as small as cover it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
SOURCES = {  # of a target, under ops/cc
    "csv_blocks": ["data/csv_text.cc", "data/csv_integers.cc"],
    "key_index": [],
    "runner_files": ["runner/parsing.cc"],
    "text_values": ["data/id_classes.cc", "data/times.cc"],
    "tile_program": ["tile_program.cc", "tile_scorer.cc", "tile_kernels_avx2.cc"],
}
TARGETS = sorted(SOURCES)
FLAGS = ["-std=c++17", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", f"-I{REPOSITORY}"]
QUIET = ["-Wno-unknown-pragmas", "-Wno-ignored-pragmas", "-Wno-psabi", "-Wno-unknown-warning-option"]


def compiler() -> str | None:
    """A clang++ that has libFuzzer; None without one."""
    for name in ("clang++", "clang++-14"):
        if found := shutil.which(name):
            probe = [found, "-fsanitize=fuzzer", "-x", "c++", "-", "-o", "/dev/null"]
            source = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
            if subprocess.run(probe, input=source, text=True, capture_output=True, check=False).returncode == 0:
                return found
    return None


def build(clang: str, target: str, directory: Path) -> Path:
    """Compiles a target; returns the program."""
    program = directory / target
    files = [HERE / f"{target}.cc", *(REPOSITORY / "ops" / "cc" / source for source in SOURCES[target])]
    subprocess.run([clang, *FLAGS, *QUIET, *map(str, files), "-o", str(program)], check=True)
    return program


def fuzz(program: Path, target: str, *, seconds: int, found: Path, runs: int = -1) -> subprocess.CompletedProcess[str]:
    """Runs a target from its kept inputs; new ones go to ``found/TARGET``, what fails to ``found``."""
    new = found / target
    new.mkdir(parents=True, exist_ok=True)
    # A process inherits its parent's peak of memory, and TensorFlow alone is more than a reader needs: only single allocations are limited.
    limits = ["-timeout=300", "-rss_limit_mb=0", "-malloc_limit_mb=1024", "-max_len=4096"]
    options = [f"-max_total_time={seconds}", f"-runs={runs}", *limits, "-print_final_stats=1"]
    if (words := HERE / f"{target}.dict").is_file():
        options.append(f"-dict={words}")
    command = [str(program), *options, f"-artifact_prefix={found}/{target}-", str(new), str(HERE / "corpus" / target)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def main() -> int:
    """Builds, fuzzes, and says what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--keep", action="store_true", help="keep what reaches new code in corpus/")
    given = parser.parse_args()
    clang = compiler()
    if clang is None:
        print("error: there is no clang++ with libFuzzer; on Debian: apt-get install clang libclang-rt-14-dev", file=sys.stderr)
        return 1
    found = REPOSITORY / "build" / "fuzz"
    found.mkdir(parents=True, exist_ok=True)
    failed = False
    for target in given.targets or TARGETS:
        program = build(clang, target, found.parent)
        ran = fuzz(program, target, seconds=given.seconds, found=found)
        stats = [line for line in ran.stderr.splitlines() if line.startswith("stat::number_of_executed_units")]
        print(f"{target}: {given.seconds} s, {' '.join(stats)}, exit {ran.returncode}", flush=True)
        if ran.returncode:
            failed = True
            print(ran.stderr[-4000:])
        elif given.keep:
            kept = HERE / "corpus" / target
            with tempfile.TemporaryDirectory() as merged:
                subprocess.run([str(program), "-merge=1", merged, str(kept), str(found / target)], check=True, capture_output=True)
                for path in Path(merged).iterdir():
                    if path.stat().st_size <= 256:
                        shutil.copy(path, kept / path.name)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
