"""The DAG from logs to a measured retrieval graph: convert, train, extract, build-index, rewrite, evaluate and benchmark, report.

Compile it with `nann pipeline compile --output training.yaml`, run it here with `nann pipeline run`, there with `nann pipeline submit`.
"""

from typing import Any

from pipelines.dag import step_pipeline
from pipelines.profiles import Profile

DESCRIPTION = "Interaction logs in, a servable retrieval graph with measured recall and latency out."


def training_pipeline(profile: Profile | None = None) -> Any:
    """The DAG as a kfp pipeline, its tasks with the resources of a profile."""
    return step_pipeline("training", DESCRIPTION, {}, profile)


training = training_pipeline()
