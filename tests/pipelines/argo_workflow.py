"""What a run of a compiled pipeline looks like inside a Kubeflow Pipelines server: Argo nodes, pods, and the tasks made of them.

A run is told as step -> how it went: "Succeeded", "Failed", "Running", "cached", "omitted" (a step before it failed),
"driver-failed"; "retry Failed Succeeded" is a step with a retry policy and its attempts in order. Built from the sources of
kubeflow/pipelines that the tests in `test_kfp_stub.py` name one by one, and on purpose not with the code under test: here ids and
names are made, there names are found.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NEVER = "0001-01-01T00:00:00Z"  # what a zero time of Go becomes
PHASES = {"Succeeded": "SUCCEEDED", "Failed": "FAILED", "Error": "FAILED", "Running": "RUNNING", "Pending": "PENDING", "Skipped": "SKIPPED"}


def fnv32a(text: str) -> int:
    """The hash in an Argo node id."""
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def moment(seconds: float) -> str:
    """A time as the server writes it."""
    return (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@dataclass
class Pod:
    """A pod of a run."""

    name: str
    node_id: str
    task: str
    kind: str
    phase: str


@dataclass
class Workflow:
    """The Argo workflow of a run, from what became of its steps."""

    name: str
    steps: dict[str, str]
    exit_task: str = "summarise"
    pod_name_format: str = "v2"
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ended = bool(self.steps) and not any("Running" in how for how in self.steps.values())
        failed = any(how.split()[-1] in ("Failed", "driver-failed") for how in self.steps.values())
        phase = "Running" if not ended else "Failed" if failed else "Succeeded"
        self._node(self.name, self.name, "DAG", "entrypoint", phase)
        self._pod("root-driver", "root", "driver", "system-dag-driver", "Succeeded")
        self._node(f"{self.name}.root", "root", "DAG", "root", phase)
        self._pod("root.exit-handler-1-driver", "exit-handler-1", "driver", "system-dag-driver", "Succeeded")
        group = "root.exit-handler-1"
        self._node(f"{self.name}.{group}", "exit-handler-1", "DAG", "comp-exit-handler-1", phase)
        before = ""
        for step, how in self.steps.items():
            self._step(f"{group}.{step}", step, how)
            # What follows a step is a child of its last node, not of the step's own: children lead out of a step.
            if before:
                self.nodes[before]["children"].append(self.id(f"{self.name}.{group}.{step}-driver"))
            before = list(self.nodes)[-1]
        if ended and self.exit_task:
            self._node(f"{self.name}.{group}.onExit", "exit-handler-1.onExit", "DAG", "exit-hook-root-summarise", "Succeeded")
            self._step(f"{group}.onExit.{self.exit_task}", self.exit_task, "Succeeded")

    def _step(self, path: str, step: str, how: str) -> None:
        full = f"{self.name}.{path}"
        if how == "omitted":
            for suffix in ("-driver", ""):
                template = "system-container-driver" if suffix else "system-container-executor"
                self._node(full + suffix, step + suffix, "Skipped", template, "Omitted", message="omitted: depends condition not met")
            return
        self._pod(f"{path}-driver", step, "driver", "system-container-driver", "Failed" if how == "driver-failed" else "Succeeded")
        self.nodes[self.id(f"{full}-driver")]["children"].append(self.id(full))
        if how == "driver-failed":
            self._node(full, step, "Skipped", "system-container-executor", "Omitted")
            return
        retried, *attempts = how.split() if how.startswith("retry ") else ("", how)
        prefix = "retry-" if retried else ""
        phase = "Succeeded" if how == "cached" else attempts[-1]
        self._node(full, step, "DAG", f"{prefix}system-container-executor", phase, children=[self.id(f"{full}.executor")])
        impl = f"{prefix}system-container-impl"
        if how == "cached":
            message = "when 'true != true' evaluated false"
            self._node(f"{full}.executor", "executor", "Skipped", impl, "Skipped", message=message, boundary=self.id(full))
        elif not retried:
            self._pod(f"{path}.executor", step, "executor", impl, phase, boundary=self.id(full))
        else:
            names = [f"{path}.executor({number})" for number in range(len(attempts))]
            ids = [self.id(f"{self.name}.{name}") for name in names]
            self._node(f"{full}.executor", "executor", "Retry", impl, phase, children=ids, boundary=self.id(full))
            for name, one in zip(names, attempts, strict=True):
                self._pod(name, step, "executor", impl, one, boundary=self.id(full))

    def id(self, name: str) -> str:
        """An Argo node id."""
        return self.name if name == self.name else f"{self.name}-{fnv32a(name)}"

    def _node(self, name: str, display: str, kind: str, template: str, phase: str, **more: Any) -> dict[str, Any]:
        start = len(self.nodes)
        node = {"id": self.id(name), "name": name, "displayName": display, "type": kind, "templateName": template, "phase": phase}
        node["startedAt"] = moment(start)
        node["finishedAt"] = None if phase in ("Running", "Pending") else moment(start if kind == "Skipped" else start + 90)
        node["children"] = more.pop("children", [])
        node["boundaryID"] = more.pop("boundary", "")
        if phase == "Failed" and kind == "Pod":
            node["message"] = "Error (exit code 1)"
        self.nodes[node["id"]] = {**node, **more}
        return self.nodes[node["id"]]

    def _pod(self, path: str, task: str, kind: str, template: str, phase: str, boundary: str = "") -> None:
        display = path.rpartition(".")[2]
        node = self._node(f"{self.name}.{path}", display, "Pod", template, phase, boundary=boundary)
        short = node["id"].rpartition("-")[2]
        name = node["id"] if self.pod_name_format == "v1" else f"{self.name}-{template}-{short}"
        self.pods[name] = Pod(name, node["id"], task, kind, phase)

    def manifest(self) -> dict[str, Any]:
        """The workflow as the server stores it."""
        metadata: dict[str, Any] = {"name": self.name, "namespace": "kubeflow"}
        if self.pod_name_format == "v1":
            metadata["annotations"] = {"workflows.argoproj.io/pod-name-format": "v1"}
        return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "status": {"nodes": self.nodes}}

    def task_details(self) -> list[dict[str, Any]]:
        """Tasks as backend 2.17 tells them: one per node, in the order of ids, with ids of nodes where pods are promised."""
        found = []
        for number, key in enumerate(sorted(self.nodes)):
            node = self.nodes[key]
            detail = {
                "run_id": "",
                "task_id": f"task-{number}",
                "display_name": node["displayName"],
                "create_time": moment(0),
                "start_time": node["startedAt"],
                "end_time": node["finishedAt"] or NEVER,
                "child_tasks": [{"pod_name": child} for child in node["children"]],
            }
            if node["phase"] in PHASES:  # any other is unspecified, and a zero enumeration is left out
                detail["state"] = PHASES[node["phase"]]
            found.append(detail)
        return found

    def tasks(self) -> list[dict[str, Any]]:
        """Tasks as the server tells them since it keeps them itself: logical tasks with all their pods."""
        found = [self._task("root", "ROOT", "", "root"), self._task("exit-handler-1", "EXIT_HANDLER", "root", "root.exit-handler-1")]
        for step, how in self.steps.items():
            if how == "omitted":
                continue
            found.append(self._task(step, "RUNTIME", "exit-handler-1", f"root.exit-handler-1.{step}"))
        if any(pod.task == self.exit_task for pod in self.pods.values()):
            found.append(self._task(self.exit_task, "RUNTIME", "root", f"root.{self.exit_task}"))
        return found

    def _task(self, name: str, kind: str, parent: str, scope: str) -> dict[str, Any]:
        pods = [pod for pod in self.pods.values() if pod.task == name]
        how = self.steps.get(name, "Succeeded")
        state = {"cached": "CACHED", "driver-failed": "FAILED"}.get(how, PHASES.get(how.split()[-1], "RUNNING"))
        if kind != "RUNTIME":
            state = PHASES[self.nodes[self.name]["phase"]]
        task = {
            "name": name,
            "display_name": name,
            "task_id": f"task-{name}",
            "type": kind,
            "state": state,
            "create_time": moment(0),
            "pods": [{"name": pod.name, "uid": f"uid-{pod.name}", "type": pod.kind.upper()} for pod in pods],
            "scope_path": scope,
        }
        if state != "RUNNING":
            task["end_time"] = moment(90)
        if parent:
            task["parent_task_id"] = f"task-{parent}"
        if state == "FAILED":
            task["status_metadata"] = {"message": "exit code 1"}
        return task
