"""Cost of a day's model: from scratch on all days so far, and going on from the model of the day before.

    python benchmarks/retraining_cost.py [--dataset runs/past/dataset] [--moment 2017-10-11] [--warm-passes 1] [--repetitions 5]

Every training runs in a process of its own, as retraining does. Reading the last model, training and saving are counted, starting Python
and reading the log are not. The ways take turns; medians (smallest to largest). Without --dataset a generated log of ten days is taken.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from data_prep.config import ConvertConfig, GenerateConfig
from data_prep.generate import generate_log
from data_prep.option_values import unix_seconds
from nann.config import ReplayConfig
from nann.replay.log import held_out_users, load_replay_log
from nann.replay.models import make_model
from nann.steps.convert import convert

DAY = 24 * 3600
WAYS = ("scratch", "warm-static", "warm-ev", "warm-adaptive")


def train(
    dataset: Path, work: Path, name: str, moment: int, since: int, passes: float, earlier: Path | None, options: dict[str, Any]
) -> dict:
    """One training; the figures of its model."""
    log, config = load_replay_log(dataset), ReplayConfig(**options)
    embedding = "static" if name.startswith("scratch") else name.split("-")[1]
    left_out = held_out_users(int(log.users[-1]) + 1, config.held_out_share, config.seed)
    made = make_model(
        log,
        moment,
        since=since,
        epochs=passes,
        embedding=embedding,
        kept_since=moment - round(config.evict_windows * DAY),
        config=config,
        left_out=left_out,
        directory=work / name,
        earlier=earlier,
    )
    return made.figures


def generated(directory: Path) -> tuple[Path, int]:
    """A dataset of a generated log of ten days, and the moment at which nine are over."""
    generate_log(directory / "log.csv", GenerateConfig(users=4_000, items=5_000, categories=50, events_per_user=40, days=10))
    options = ConvertConfig(shards=1, test_users=0, validate_users=0)
    convert(inputs=[directory / "log.csv"], dataset=directory / "dataset", config=options)
    times = load_replay_log(directory / "dataset").times
    return directory / "dataset", int(times.min()) + 9 * DAY


def measure(dataset: Path, work: Path, moment: int, arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    spawned = multiprocessing.get_context("spawn")
    options = {"xla_from_steps": arguments.xla_from_steps}

    def run(*about: Any) -> dict[str, Any]:
        with spawned.Pool(1) as pool:
            figures: dict[str, Any] = pool.apply(train, (dataset, work, *about, options))
            return figures

    for way in WAYS[1:]:  # what is gone on from: its passes do not change what going on costs
        run(f"{way}-before", moment - DAY, 0, 1, None)
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(arguments.repetitions):
        found["scratch"].append(run("scratch", moment, 0, arguments.scratch_passes, None))
        for way in WAYS[1:]:
            found[way].append(run(way, moment, moment - DAY, arguments.warm_passes, work / f"{way}-before"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--moment", default="2017-10-11")
    parser.add_argument("--scratch-passes", type=float, default=2)
    parser.add_argument("--warm-passes", type=float, default=1)
    parser.add_argument("--xla-from-steps", type=int, default=ReplayConfig.model_fields["xla_from_steps"].default)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("build/retraining_cost.json"))
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        dataset, moment = generated(work) if arguments.dataset is None else (arguments.dataset, unix_seconds(arguments.moment))
        found = measure(dataset, work, moment, arguments)
    scratch = {name: float(np.median([run[name] for run in found["scratch"]])) for name in ("wall_seconds", "processor_seconds")}
    print("way | steps | wall s | of scratch | processor s | of scratch | table bytes")
    for way, runs in found.items():
        cells = [way, f"{runs[0]['steps']:,}"]
        for name, whole in scratch.items():
            values = [run[name] for run in runs]
            cells += [f"{np.median(values):.2f} ({min(values):.2f}-{max(values):.2f})", f"{np.median(values) / whole:.2f}"]
        print(" | ".join([*cells, f"{runs[0]['table_bytes']:,}"]))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"saved {arguments.output}")


if __name__ == "__main__":
    main()
