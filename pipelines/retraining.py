"""The DAG of retraining: the new window goes on from what is in service, and takes its place if it is good enough.

in-service, convert, check-data, train, extract, build-index, rewrite, evaluate and benchmark, gate, publish, item-prior, report. Where
nothing is in service yet, all of the log is converted and the model trained from scratch. A window unlike those before it ends the run.
Run it here with `nann pipeline run --pipeline retraining --service DIR`, there by a schedule (`nann pipeline schedule daily-retraining`).
"""

from typing import Any

from pipelines.dag import step_pipeline
from pipelines.profiles import Profile

DESCRIPTION = "A new window of a log in; what is in service is continued, compared with, and replaced."
NOTES = {
    "inputs": "Paths of the interaction logs (CSV or Parquet), as the tasks see them; events that are in service already are left out.",
    "overwrite": "Replace artifacts in run_dir that were made with other settings, and take what is in service now.",
    "convert_config": "Options of the step convert, as in `nann convert --help`; since and until set the window.",
}


def retraining_pipeline(profile: Profile | None = None) -> Any:
    """The DAG as a kfp pipeline, its tasks with the resources of a profile."""
    return step_pipeline("retraining", DESCRIPTION, NOTES, profile)


retraining = retraining_pipeline()
