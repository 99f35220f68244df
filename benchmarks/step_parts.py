"""Where the time of a training step of `sequence` goes: the step without each of its parts.

    .venv/bin/python benchmarks/step_parts.py

The steps take turns in one process, on one batch of packed users; medians. What a part costs is what the step saves without it, so that
the rows do not add up: parts that run side by side hide each other. Prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tensorflow as tf
from encoder_ablation import VARIANTS
from training import ITEMS, in_turns, own_step, packed_batch

from data_prep.cores import available_cores
from nann.config import TrainConfig

PARTS = (
    "second block",
    "gates on what a block adds",
    "gate of the feed-forward network",
    "bias per distance",
    "network of the items, a linear map left",
    "dropout",
    "dropout of ids",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=40)
    options = parser.parse_args()
    config = TrainConfig(encoders=1)
    batch = {name: tf.constant(part) for name, part in packed_batch(config).items()}
    targets = int(np.count_nonzero(batch["weights"].numpy()))
    runs: dict[str, Callable[[], Any]] = {}
    with contextlib.ExitStack() as stack:
        for name in ("nothing", *PARTS):
            with VARIANTS[name].applied():
                runs[name] = own_step(config.model_copy(update=VARIANTS[name].options), ITEMS, batch)[0]
                runs[name]()  # traced while the part is away
        no_update = stack.enter_context(mock.patch("ops.optimizers.LazyAdamW.apply"))
        no_update.return_value = None
        runs["update of tables and networks"] = own_step(config, ITEMS, batch)[0]
        runs["update of tables and networks"]()
        stack.close()
    medians = in_turns(runs, options.repetitions)
    print(
        f"{platform.processor() or platform.machine()}, {available_cores()} cores, load {os.getloadavg()[0]:.1f}, "
        f"TensorFlow {tf.__version__}, {options.repetitions} repetitions, {targets} targets"
    )
    print("| without | ms a step | saved |\n|---|---|---|")
    whole = medians["nothing"]
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} | {'' if name == 'nothing' else f'{whole - value:.1f}'} |")


if __name__ == "__main__":
    main()
