"""The table of steps, from which the single-step commands, the components and the DAG take names, paths and configs.

The name of a step is its command, its component, its DAG task and (with an underscore) its module in `nann.steps`. The name of an
artifact is its directory under a run directory, the keyword of the step functions and (with a dash) the option that names its path.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """One step of the pipeline.

    Attributes:
        name: as on the command line.
        config: "module:Class" of its config, or "" when it takes none.
        reads: names of the artifacts it reads.
        writes: name of the artifact it writes.
        help: one sentence for people.
    """

    name: str
    config: str
    reads: tuple[str, ...]
    writes: str
    help: str

    def load_function(self) -> Callable[..., Any]:
        """Imports the step function (and with it, for most steps, TensorFlow)."""
        module_name = self.name.replace("-", "_")
        return getattr(importlib.import_module(f"nann.steps.{module_name}"), module_name)

    def load_config(self) -> type | None:
        """Imports the pydantic model of its config; cheap."""
        return load_object(self.config) if self.config else None


def load_object(reference: str) -> Any:
    """Imports "module:name"."""
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)


STEPS: tuple[Step, ...] = (
    Step("convert", "data_prep.config:ConvertConfig", (), "dataset", "Turn interaction logs into training, validation and test records."),
    Step("train", "nann.config:TrainConfig", ("dataset",), "model", "Train the scorer on a dataset."),
    Step("extract", "nann.config:ExtractConfig", ("model", "dataset"), "embeddings", "Compute the vectors of all items."),
    Step("build-index", "nann.config:BuildIndexConfig", ("embeddings",), "index", "Build the HNSW graph over the item vectors."),
    Step(
        "rewrite",
        "nann.config:RewriteConfig",
        ("model", "dataset", "embeddings", "index"),
        "converted_model",
        "Freeze the scorer and export the retrieval graph.",
    ),
    Step(
        "evaluate",
        "nann.config:EvaluateConfig",
        ("converted_model", "dataset"),
        "evaluation",
        "Measure recall of the exported graph against the exact scan and the baselines.",
    ),
    Step(
        "benchmark",
        "nann.config:BenchmarkConfig",
        ("converted_model", "dataset"),
        "benchmark",
        "Measure latency and throughput of the exported graph.",
    ),
    Step(
        "report",
        "",
        ("dataset", "model", "embeddings", "index", "converted_model", "evaluation", "benchmark"),
        "report",
        "Write one HTML page about a whole run.",
    ),
)
# What retraining has besides: what is in service is taken first, and the candidate is put in its place if it is good enough.
IN_SERVICE = Step("in-service", "", (), "in_service", "Take the version in service into a run.")
GATE = Step(
    "gate",
    "nann.config:GateConfig",
    ("converted_model", "dataset", "in_service"),
    "gate",
    "Measure a candidate and the model in service on the same users, and say whether it may take its place.",
)
PUBLISH = Step(
    "publish",
    "nann.config:PublishConfig",
    ("gate", "dataset", "model", "converted_model"),
    "publication",
    "Put a candidate that passed the gate in service; keep one that did not, with its report.",
)
RETRAINING_STEPS: tuple[Step, ...] = (IN_SERVICE, *STEPS[:-1], GATE, PUBLISH, STEPS[-1])
STEPS_OF: dict[str, tuple[Step, ...]] = {"training": STEPS, "retraining": RETRAINING_STEPS}

STEP_NAMES: tuple[str, ...] = tuple(step.name for step in STEPS)
# Steps of all pipelines, in an order that each of them keeps.
STEP_ORDER: tuple[str, ...] = tuple(step.name for step in RETRAINING_STEPS)
STEP_BY_NAME: dict[str, Step] = {step.name: step for step in RETRAINING_STEPS}
MAKER_OF: dict[str, str] = {step.writes: step.name for step in RETRAINING_STEPS}

# Commands like those of the steps, but no part of a DAG: run when the defaults are in doubt, or when retraining is to be tried on the past.
TUNE = Step(
    "tune",
    "nann.config:TuneConfig",
    ("converted_model", "dataset"),
    "tuning",
    "Find the cheapest search that reaches a target coverage on validation users.",
)

# Two more that train several times over one dataset.
SWEEP = Step(
    "sweep", "nann.config:SweepConfig", ("dataset",), "sweep", "Search training settings on validation users, giving up bad trials early."
)
SEEDS = Step(
    "seeds",
    "nann.config:SeedsConfig",
    ("dataset",),
    "seed_runs",
    "Run train to evaluate with several seeds; mean, and paired interval against the simple methods.",
)
REPLAY = Step(
    "replay",
    "nann.config:ReplayConfig",
    ("dataset",),
    "replay",
    "Walk a log window by window and measure retraining methods on what users do next.",
)

# Sections a config file may have: every step with a config, and the commands that are no step of the DAG.
CONFIGS: dict[str, str] = {
    "generate": "data_prep.config:GenerateConfig",
    **{step.name: step.config for step in RETRAINING_STEPS if step.config},
    TUNE.name: TUNE.config,
    SWEEP.name: SWEEP.config,
    SEEDS.name: SEEDS.config,
    REPLAY.name: REPLAY.config,
    "infer": "nann.config:InferConfig",
    "compare": "nann.config:CompareConfig",
}
