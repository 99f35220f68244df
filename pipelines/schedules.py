"""Schedules as reviewed data: `pipelines/schedules/NAME.yaml`, brought to the server so that doing it twice changes nothing.

The server cannot change a recurring run. One that differs is replaced: the new one is made before the old one is deleted, so that no
failure leaves none; if both are there, the next call deletes the older ones. What a recurring run was made from stands in its
description as a digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from components.errors import ConfigError, validation_message
from pipelines.cluster import Cluster, pipeline_of
from pipelines.cron import CronError, parse_cron

DIRECTORY = Path(__file__).parent / "schedules"
_DIGEST = re.compile(r"\[([0-9a-f]{64})\]$")


class Schedule(BaseModel):
    """One schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pipeline: str = "training"
    profile: str = ""
    experiment: str = "nann"
    cron: str = Field(description="six fields, seconds first, UTC")
    catch_up: bool = Field(False, description="make up for every missed run, not only for the newest")
    max_concurrency: int = Field(1, ge=1, le=10)
    enabled: bool = True
    window_days: int = Field(7, ge=1, description="what {window_days} in a text parameter stands for")
    parameters: dict[str, Any] = {}
    service_account: str = ""

    @field_validator("cron")
    @classmethod
    def _parses(cls, value: str) -> str:
        try:
            parse_cron(value)
        except CronError as error:
            raise ValueError(str(error)) from error
        return value

    def filled_parameters(self) -> dict[str, Any]:
        """The parameters with the window put in."""
        return {name: _fill(value, self.window_days) for name, value in self.parameters.items()}

    def next_times(self, moment: datetime, count: int = 3) -> list[datetime]:
        """The next fire times after a moment, in UTC."""
        return parse_cron(self.cron).after(moment, count)


@dataclass(frozen=True)
class Outcome:
    """What `put_schedule` did: "created", "replaced" or "unchanged", and the id that is there now."""

    action: str
    recurring_run_id: str


def read_schedule(name: str) -> tuple[str, Schedule]:
    """Reads a schedule by its name, or from a file that ends in .yaml; returns name and schedule.

    Raises:
        ConfigError: there is none, or it breaks a rule.
    """
    import yaml

    path = Path(name) if name.endswith((".yaml", ".yml")) else DIRECTORY / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in DIRECTORY.glob("*.yaml")))
        raise ConfigError(f"there is no schedule {name!r}; known: {known}, or the path of a .yaml file")
    try:
        return path.stem, Schedule(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError) as error:
        raise ConfigError(f"{path} is no schedule: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise ConfigError(validation_message(error, path.stem)) from error


def put_schedule(cluster: Cluster, name: str, schedule: Schedule, spec: Mapping[str, Any]) -> Outcome:
    """Makes the server have exactly this schedule under this name.

    Args:
        cluster: the server.
        name: display name of the recurring run.
        schedule: what to have.
        spec: the compiled pipeline.

    Raises:
        ClusterError: the server refuses or does not answer.
    """
    import kfp_server_api as api

    digest = _digest(schedule, spec)
    there = [found for found in cluster.schedules() if found.display_name == name]
    same = [found for found in there if _recorded_digest(found) == digest]
    if same:
        kept = same[0].recurring_run_id
    else:
        kept = cluster.create_schedule(
            api.V2beta1RecurringRun(
                display_name=name,
                description=f"From pipelines/schedules, do not edit here [{digest}]",
                experiment_id=cluster.experiment(schedule.experiment, create=True),
                pipeline_spec=dict(spec),
                runtime_config=api.V2beta1RuntimeConfig(parameters=schedule.filled_parameters()),
                trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=schedule.cron)),
                max_concurrency=str(schedule.max_concurrency),
                no_catchup=not schedule.catch_up,
                mode=api.RecurringRunMode.ENABLE if schedule.enabled else api.RecurringRunMode.DISABLE,
                service_account=schedule.service_account or None,
            )
        )
    for found in there:
        if found.recurring_run_id != kept:
            cluster.delete_schedule(found.recurring_run_id)
    return Outcome("unchanged" if same and len(there) == 1 else "replaced" if there else "created", kept)


def remove_schedule(cluster: Cluster, name: str, pipeline: str = "") -> int:
    """Deletes all recurring runs of that name, and of that pipeline if one is named; returns how many there were."""
    there = [found for found in cluster.schedules() if found.display_name == name and pipeline in ("", pipeline_of(found))]
    for found in there:
        cluster.delete_schedule(found.recurring_run_id)
    return len(there)


def _digest(schedule: Schedule, spec: Mapping[str, Any]) -> str:
    content = json.dumps([schedule.model_dump(mode="json"), spec], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _recorded_digest(found: Any) -> str:
    match = _DIGEST.search(found.description or "")
    return match.group(1) if match else ""


def _fill(value: Any, window_days: int) -> Any:
    if isinstance(value, str):
        return value.replace("{window_days}", str(window_days))
    if isinstance(value, list):
        return [_fill(item, window_days) for item in value]
    return value
