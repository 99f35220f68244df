"""Schedules as reviewed data: `pipelines/schedules/NAME.yaml`, brought to the server so that doing it twice changes nothing.

The server cannot change a recurring run. One that differs is replaced: the new one is made before the old one is deleted, so that no
failure leaves none; if both are there, the next call deletes the older ones. Runs that the old one started stay and go on, and the
new one's description has the ids of those it replaced, so that the history of a schedule is found as one. The description also has a
digest of what the recurring run was made from. A schedule that was paused on the server is still paused when it has been replaced.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from components.errors import ConfigError, validation_message
from nann.contents import parse_yaml
from pipelines.api_server import ClusterError
from pipelines.cluster import Cluster
from pipelines.cron import CronError, parse_cron

DIRECTORY = Path(__file__).parent / "schedules"
EARLIER_IDS = 50  # that a description remembers
CREATED, REPLACED, UNCHANGED = "created", "replaced", "unchanged"
_DIGEST = re.compile(r"\[([0-9a-f]{64})\]$")
_EARLIER = re.compile(r"earlier: ([^;]*);")
_OFF_IN_FILE = "off in its file;"


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
    document: Literal["embedded", "newest"] = Field(
        "embedded", description="runs the pipeline as it was compiled when the schedule was brought to the server, or the newest upload"
    )

    @field_validator("cron")
    @classmethod
    def _parses(cls, value: str) -> str:
        try:
            parse_cron(value)
        except CronError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("parameters")
    @classmethod
    def _stand_for_something(cls, value: dict[str, Any]) -> dict[str, Any]:
        unknown = [name for name in re.findall(r"\{\w+\}", _as_json(value)) if name != "{window_days}"]
        if unknown:
            raise ValueError(f"'{unknown[0]}' stands for nothing; there is {{window_days}}")
        return value

    def filled_parameters(self) -> dict[str, Any]:
        """The parameters with the window put in."""
        return {name: _fill(value, self.window_days) for name, value in self.parameters.items()}

    def next_times(self, moment: datetime, count: int = 3) -> list[datetime]:
        """The next fire times after a moment, in UTC."""
        return parse_cron(self.cron).after(moment, count)


@dataclass(frozen=True)
class Source:
    """What a schedule runs: one of the two.

    Attributes:
        spec: a compiled pipeline, embedded.
        pipeline_id: of an uploaded pipeline, whose newest version is run.
    """

    spec: Mapping[str, Any] | None = None
    pipeline_id: str = ""


@dataclass(frozen=True)
class SchedulePlan:
    """What bringing a schedule to the server would do.

    Attributes:
        action: `CREATED`, `REPLACED` or `UNCHANGED`.
        changes: one line each: what differs from the recurring run that is there, as "cron: '0 0 4 * * *' -> '0 0 5 * * *'", or which
            older ones would be deleted.
        kept: id of the recurring run that is as it should be, or "".
        superseded: ids of those to be deleted.
        paused: whether it is, or will be, paused on the server though its file has it enabled.
        earlier: ids of recurring runs of that name that were replaced before or are now.
    """

    action: str
    changes: tuple[str, ...]
    kept: str
    superseded: tuple[str, ...]
    paused: bool
    earlier: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class ScheduleOutcome:
    """What `put_schedule` did (an action of `SchedulePlan`), the id that is there now, and whether it is paused on the server."""

    action: str
    recurring_run_id: str
    paused: bool = False


def read_schedule(name: str) -> tuple[str, Schedule]:
    """Reads a schedule by its name, or from a file that ends in .yaml; returns name and schedule.

    Raises:
        ConfigError: there is none, or it breaks a rule.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else DIRECTORY / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in DIRECTORY.glob("*.yaml")))
        raise ConfigError(f"there is no schedule {name!r}; known: {known}, or the path of a .yaml file")
    content = parse_yaml(path.read_bytes(), path, "a schedule", remedy="mend the line", error=ConfigError)
    if not (isinstance(content, dict) and all(isinstance(key, str) for key in content)):
        raise ConfigError(f'{path} is no schedule: it holds no lines like `cron: "0 30 2 * * *"`')
    try:
        return path.stem, Schedule(**content)
    except ValidationError as error:
        raise ConfigError(validation_message(error, path.stem)) from error


def plan_schedule(cluster: Cluster, name: str, schedule: Schedule, source: Source) -> SchedulePlan:
    """Looks what would have to be done for the server to have exactly this schedule under this name; changes nothing.

    Args:
        cluster: the server.
        name: display name of the recurring run.
        schedule: what to have.
        source: what it runs.

    Raises:
        ClusterError: the server refuses or does not answer.
    """
    digest = _digest(schedule, source)
    there = cluster.schedules(name)
    same = [found for found in there if _recorded_digest(found) == digest]
    kept = same[0] if same else None
    superseded = [found for found in there if found is not kept]
    before = kept or (superseded[-1] if superseded else None)
    ids = [*all_ids(there)]
    return SchedulePlan(
        action=UNCHANGED if kept and not superseded else REPLACED if there else CREATED,
        changes=tuple(
            _differences(before, schedule, source)
            if before is not None and kept is None
            else (f"{found.recurring_run_id} would be deleted" for found in superseded)
        ),
        kept=kept.recurring_run_id if kept else "",
        superseded=tuple(found.recurring_run_id for found in superseded),
        paused=schedule.enabled and before is not None and _is_paused(before),
        earlier=tuple(ids[-EARLIER_IDS:]),
        digest=digest,
    )


def put_schedule(cluster: Cluster, name: str, schedule: Schedule, source: Source) -> ScheduleOutcome:
    """Makes the server have exactly this schedule under this name; the arguments are those of `plan_schedule`.

    Raises:
        ClusterError: the server refuses or does not answer.
    """
    plan = plan_schedule(cluster, name, schedule, source)
    kept = plan.kept or cluster.create_schedule(_recurring_run(cluster, name, schedule, source, plan))
    for found in plan.superseded:
        try:
            cluster.delete_schedule(found)
        except ClusterError as error:
            told = f"{kept} is there, but {found}, which it replaces, is there too, and both may start runs; bring it again"
            raise ClusterError(f"{told}: {error}", error.status, error.explanation) from error
    return ScheduleOutcome(plan.action, kept, plan.paused)


def remove_schedule(cluster: Cluster, name: str, pipeline: str = "") -> int:
    """Deletes all recurring runs of that name, and of that pipeline if one is named; returns how many there were."""
    there = [found for found in cluster.schedules(name) if pipeline in ("", _pipeline(cluster, found))]
    for found in there:
        cluster.delete_schedule(found.recurring_run_id)
    return len(there)


def switch_schedule(cluster: Cluster, name: str, enabled: bool) -> int:
    """Pauses or resumes all recurring runs of that name; returns how many there are.

    Raises:
        ClusterError: there is none.
    """
    there = schedules_there(cluster, name)
    for found in there:
        cluster.enable_schedule(found.recurring_run_id, enabled)
    return len(there)


def schedules_there(cluster: Cluster, name: str) -> list[Any]:
    """The recurring runs of that name.

    Raises:
        ClusterError: there is none.
    """
    there = cluster.schedules(name)
    if not there:
        raise ClusterError(f"the server has no schedule {name!r}; `nann pipeline list --schedules` lists them")
    return there


def all_ids(there: Iterable[Any]) -> dict[str, None]:
    """The ids of recurring runs and of those that they replaced, the oldest first."""
    ids: dict[str, None] = {}
    for found in there:
        match = _EARLIER.search(found.description or "")
        ids |= dict.fromkeys(match.group(1).split() if match else ())
    return ids | dict.fromkeys(found.recurring_run_id for found in there)


def _recurring_run(cluster: Cluster, name: str, schedule: Schedule, source: Source, plan: SchedulePlan) -> Any:
    import kfp_server_api as api

    earlier = f" earlier: {' '.join(plan.earlier)};" if plan.earlier else ""
    off = "" if schedule.enabled else f" {_OFF_IN_FILE}"
    runs: dict[str, Any] = {"pipeline_spec": dict(source.spec)} if source.spec is not None else {}
    if source.pipeline_id:
        runs["pipeline_version_reference"] = api.V2beta1PipelineVersionReference(pipeline_id=source.pipeline_id)
    return api.V2beta1RecurringRun(
        display_name=name,
        description=f"From pipelines/schedules, do not edit here; {schedule.pipeline};{off}{earlier} [{plan.digest}]",
        experiment_id=cluster.experiment(schedule.experiment, create=True),
        runtime_config=api.V2beta1RuntimeConfig(parameters=schedule.filled_parameters()),
        trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=schedule.cron)),
        max_concurrency=str(schedule.max_concurrency),
        no_catchup=not schedule.catch_up,
        mode=api.RecurringRunMode.ENABLE if schedule.enabled and not plan.paused else api.RecurringRunMode.DISABLE,
        service_account=schedule.service_account or None,
        **runs,
    )


def _differences(found: Any, schedule: Schedule, source: Source) -> Iterator[str]:
    """What a recurring run on the server has otherwise than the schedule wants it."""
    cron = found.trigger.cron_schedule.cron if found.trigger and found.trigger.cron_schedule else ""
    parameters = (found.runtime_config.parameters if found.runtime_config else None) or {}
    reference = found.pipeline_version_reference.pipeline_id if found.pipeline_version_reference else ""
    before = {
        "cron": cron,
        "enabled": _OFF_IN_FILE not in (found.description or ""),
        "catch_up": not found.no_catchup,
        "max_concurrency": int(found.max_concurrency or 1),
        "service_account": found.service_account or "",
        "document": "newest" if reference else "embedded",
        **{f"parameters.{name}": value for name, value in _flat(parameters)},
    }
    after = {name: getattr(schedule, name) for name in before if not name.startswith("parameters.")}
    after |= {f"parameters.{name}": value for name, value in _flat(schedule.filled_parameters())}
    changes = [name for name in before | after if before.get(name) != after.get(name)]
    for name in changes:
        yield f"{name}: {_shown(before, name)} -> {_shown(after, name)}"
    if source.spec is not None and not reference and _as_json(found.pipeline_spec) != _as_json(source.spec):
        yield "document: the pipeline is compiled from other sources, or with another profile"
    elif not changes:
        yield "another experiment, profile or window, or made by hand"


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "(default)"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _is_paused(found: Any) -> bool:
    """Whether it was switched off on the server; one whose file says so is none that anybody paused."""
    return bool(found.status == "DISABLED") and _OFF_IN_FILE not in (found.description or "")


def _pipeline(cluster: Cluster, found: Any) -> str:
    """Name of the pipeline that a recurring run runs; from its description where it was made from a schedule's file."""
    match = re.search(r"do not edit here; (\w+);", found.description or "")
    return f"nann-{match.group(1)}" if match else cluster.pipeline_of(found)


def _digest(schedule: Schedule, source: Source) -> str:
    content = _as_json([schedule.model_dump(mode="json"), source.spec, source.pipeline_id])
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
