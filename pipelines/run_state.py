"""A run and its steps as an API server describes them, whichever of its generations it is.

Decided by what the answer holds, not by a version: servers since the removal of ML Metadata give `tasks` with the names of pods; backend
2.17 gives `run_details.task_details`, and the workflow manifest of its v1beta1 API has the pods (see `pipelines.workflow`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nann.steps.table import STEP_ORDER
from pipelines.workflow import DRIVER, EXECUTOR, Pod, count_pods, step_nodes

EXIT_TASK = "summarise"
TASK_NAMES = (*STEP_ORDER, EXIT_TASK)
FINISHED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
_DONE = (*FINISHED, "CACHED")
_UNSET_YEAR = 1970  # a zero time of the server is in this year, or in the year 1


@dataclass(frozen=True)
class Task:
    """A step of a run.

    Attributes:
        name: the step, or `EXIT_TASK`.
        state: "PENDING", "RUNNING", "SUCCEEDED", "CACHED", "SKIPPED", "FAILED", "CANCELED", or "" when its turn has not come.
        seconds: how long it took, None while that is not known.
        error: what the server says about a failure, or "".
        pods: the driver's, then those of all attempts in their order; empty where the server does not say.
    """

    name: str
    state: str
    seconds: float | None = None
    error: str = ""
    pods: tuple[Pod, ...] = ()

    @property
    def attempts(self) -> tuple[Pod, ...]:
        """The pods that did the work."""
        return tuple(pod for pod in self.pods if pod.kind == EXECUTOR)

    @property
    def finished(self) -> bool:
        """Whether nothing more is to come."""
        return self.state in _DONE


@dataclass(frozen=True)
class RunState:
    """A run.

    Attributes:
        source: what the steps were read from: "tasks", "task_details", "workflow manifest", or "" when the answer holds none.
        pod_counts: kind -> number of pods so far; empty where the server does not say.
    """

    run_id: str
    name: str
    state: str
    pipeline: str = ""
    error: str = ""
    created_at: str = ""
    finished_at: str = ""
    recurring_run_id: str = ""
    tasks: tuple[Task, ...] = ()
    source: str = ""
    pod_counts: Mapping[str, int] | None = None

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return self.state in FINISHED

    @property
    def failed(self) -> list[Task]:
        """The steps that failed."""
        return [task for task in self.tasks if task.state == "FAILED"]

    def as_json(self) -> dict[str, Any]:
        """For programs: every field, with seconds as numbers and times as the server gives them."""
        return {
            "run_id": self.run_id,
            "name": self.name,
            "state": self.state,
            "pipeline": self.pipeline,
            "error": self.error,
            "created_at": self.created_at,
            "finished_at": self.finished_at,
            "schedule_id": self.recurring_run_id,
            "steps_from": self.source,
            "pods": dict(self.pod_counts or {}),
            "steps": [
                {
                    "step": task.name,
                    "state": task.state,
                    "seconds": task.seconds,
                    "error": task.error,
                    "pods": [{"name": pod.name, "kind": pod.kind, "state": pod.state} for pod in task.pods],
                }
                for task in self.tasks
            ],
        }


def read_run(answer: Mapping[str, Any], workflow: Mapping[str, Any] | None = None) -> RunState:
    """A run from the server's description.

    Args:
        answer: JSON of ``GET /apis/v2beta1/runs/ID?view=FULL``.
        workflow: the workflow manifest, where it was asked for and there is one.
    """
    details = (answer.get("run_details") or {}).get("task_details") or []
    if answer.get("tasks"):
        source, tasks = "tasks", _from_tasks(answer["tasks"])
    elif details:
        source, tasks = "task_details", _from_details(details)
    else:
        source, tasks = "", []
    counts = _count_tasks(answer["tasks"]) if answer.get("tasks") else {}
    if workflow is not None and source != "tasks":
        nodes = _from_workflow(workflow)
        source = source or ("workflow manifest" if nodes else "")
        tasks = _with_pods(tasks, nodes) if tasks else list(nodes.values())
        counts = count_pods(workflow)
    return RunState(
        run_id=str(answer.get("run_id") or ""),
        name=str(answer.get("display_name") or ""),
        state=str(answer.get("state") or ""),
        pipeline=pipeline_name(answer.get("pipeline_spec")),
        error=_message(answer.get("error")),
        created_at=str(answer.get("created_at") or ""),
        finished_at=str(answer.get("finished_at") or "") if _time(answer.get("finished_at")) else "",
        recurring_run_id=str(answer.get("recurring_run_id") or ""),
        tasks=tuple(sorted(tasks, key=lambda task: TASK_NAMES.index(task.name))),
        source=source,
        pod_counts=counts,
    )


def pipeline_name(spec: Mapping[str, Any] | None) -> str:
    """Name of the pipeline in a compiled document, or ""; the document may be wrapped, with one for Kubernetes beside it."""
    spec = spec or {}
    return str((spec.get("pipeline_spec") or spec).get("pipelineInfo", {}).get("name", ""))


def _from_tasks(tasks: list[Mapping[str, Any]]) -> list[Task]:
    found = []
    for task in tasks:
        name = task.get("name") or task.get("display_name")
        if name not in TASK_NAMES:
            continue
        pods = tuple(
            Pod(str(pod["name"]), DRIVER if pod.get("type") == "DRIVER" else EXECUTOR)
            for pod in sorted(task.get("pods") or (), key=lambda pod: pod.get("type") != "DRIVER")
        )
        message = (task.get("status_metadata") or {}).get("message") or task.get("lifecycle_message") or ""
        found.append(
            Task(name, str(task.get("state") or ""), _seconds(task.get("create_time"), task.get("end_time")), _line(message), pods)
        )
    return found


def _from_details(details: list[Mapping[str, Any]]) -> list[Task]:
    return [
        Task(
            task["display_name"],
            str(task.get("state") or ""),
            _seconds(task.get("start_time"), task.get("end_time")) if task.get("state") else None,
            _message(task.get("error")),
        )
        for task in details
        if task.get("display_name") in TASK_NAMES
    ]


def _from_workflow(workflow: Mapping[str, Any]) -> dict[str, Task]:
    return {
        step: Task(step, nodes.state, _seconds(nodes.start, nodes.end) if nodes.state else None, _line(nodes.message), nodes.pods)
        for step, nodes in step_nodes(workflow, TASK_NAMES).items()
    }


def _with_pods(tasks: list[Task], nodes: Mapping[str, Task]) -> list[Task]:
    """Tasks of 2.17 with what only the workflow knows: pods, cached results, drivers that failed, and why."""
    found = []
    for task in tasks:
        known = nodes.get(task.name, task)
        state = known.state if known.state in ("CACHED", "FAILED") else task.state
        found.append(replace(task, state=state, pods=known.pods, error=task.error or known.error))
    return found


def _count_tasks(tasks: list[Mapping[str, Any]]) -> dict[str, int]:
    counts = {EXECUTOR: 0, DRIVER: 0, "sub-DAG": 0}
    for task in tasks:
        for pod in task.get("pods") or ():
            kind = EXECUTOR if pod.get("type") == "EXECUTOR" else DRIVER if task.get("type") == "RUNTIME" else "sub-DAG"
            counts[kind] += 1
    return counts


def _time(text: Any) -> datetime | None:
    moment = datetime.fromisoformat(text) if text else None
    return moment if moment is not None and moment.year > _UNSET_YEAR else None


def _seconds(start: Any, end: Any) -> float | None:
    first, last = _time(start), _time(end)
    return (last - first).total_seconds() if first and last else None


def _message(error: Any) -> str:
    return _line((error or {}).get("message") or "")


def _line(text: str) -> str:
    return " ".join(str(text).split())
