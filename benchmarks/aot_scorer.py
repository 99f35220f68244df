"""The scorer compiled ahead of time beside the same scorer in TensorFlow: one user, a block of items, one call.

    python benchmarks/aot_scorer.py --graph-file converted_model/frozen_graph.pb

Builds the program of examples/aot_scorer for each number of items. Then the program and TensorFlow's forms take turns: the exported ops as
they are, and compiled by XLA when first called. TensorFlow runs on one thread, as the program does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "aot_scorer"))
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from build import build, example_inputs
from nann.export import load_frozen_scorer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graph-file", type=Path, required=True, help="frozen_graph.pb of `nann rewrite`")
    parser.add_argument("--items", type=int, nargs="+", default=[256, 1024, 4096], help="items per call")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repetitions", type=int, default=50, help="calls of each form in a round")
    parser.add_argument("--cpu", default="x86-64-v3", help="LLVM's name of the processor to compile for")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, TensorFlow {tf.__version__}"
    )
    print("| items | form | median ms | least ms | x | us per item |\n|---|---|---|---|---|---|")
    scorer = load_frozen_scorer(arguments.graph_file)
    with tempfile.TemporaryDirectory() as work:
        for items in arguments.items:
            directory = Path(work) / str(items)
            program = build(arguments.graph_file, directory, items=items, length=20, cpu=arguments.cpu, log=subprocess.DEVNULL)
            inputs = list(example_inputs(scorer, items=items, length=20).values())
            forms = {
                name: tf.function(lambda *tensors: scorer.score(tensors[:-1], tensors[-1]), jit_compile=compiled, autograph=False)
                for name, compiled in {"exported ops": False, "XLA at run time": True}.items()
            }
            times: dict[str, list[float]] = {name: [] for name in [*forms, "ahead of time"]}
            for _ in range(arguments.rounds):
                for name, form in forms.items():
                    form(*inputs).numpy()
                    found = []
                    for _ in range(arguments.repetitions):
                        begin = time.perf_counter()
                        form(*inputs).numpy()
                        found.append((time.perf_counter() - begin) * 1000)
                    times[name].append(float(np.median(found)))
                command = [str(program), str(directory), "--repetitions", str(arguments.repetitions)]
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                times["ahead of time"].append(json.loads(answer)["p50_ms"])
            first = np.median(times["exported ops"])
            for name, values in times.items():
                median = np.median(values)
                print(f"| {items} | {name} | {median:.3f} | {min(values):.3f} | {first / median:.2f} | {median / items * 1000:.2f} |")


if __name__ == "__main__":
    main()
