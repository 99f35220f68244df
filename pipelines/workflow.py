"""The Argo workflow behind a run: which pods its steps had, under their true names.

The API of backend 2.17 gives ids of Argo nodes where it promises names of pods, so the names are made here by the server's own rule
(`RetrievePodName` in kubeflow/pipelines, backend/src/common/util/workflow.go).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

EXECUTOR, DRIVER = "executor", "driver"
POD_NAME_FORMAT = "workflows.argoproj.io/pod-name-format"
# Phase of a node -> state as the API says it. A node that was omitted never had a state.
STATES = {"Succeeded": "SUCCEEDED", "Failed": "FAILED", "Error": "FAILED", "Running": "RUNNING", "Pending": "PENDING", "Skipped": "SKIPPED"}


@dataclass(frozen=True)
class Pod:
    """One pod of a step.

    Attributes:
        name: as Kubernetes knows it.
        kind: `EXECUTOR`, which does the work, or `DRIVER`, which prepares it.
        state: "SUCCEEDED", "FAILED", "RUNNING", "PENDING", or "" where the server does not say.
        node_id: of Argo; an archive of logs is asked by it. "": not known.
    """

    name: str
    kind: str
    state: str = ""
    node_id: str = ""


@dataclass(frozen=True)
class StepNodes:
    """What the workflow says about one step.

    Attributes:
        state: as the API says it, "CACHED" when its result was taken from an earlier run, "" when the step did not come to its turn.
        pods: all attempts in their order, after the driver.
        start, end: RFC 3339 times, or "".
        message: why it failed, or "".
    """

    state: str
    pods: tuple[Pod, ...]
    start: str = ""
    end: str = ""
    message: str = ""


def pod_name(workflow: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """The name of the pod of a node."""
    metadata = workflow["metadata"]
    if (metadata.get("annotations") or {}).get(POD_NAME_FORMAT) == "v1":
        return str(node["id"])
    if node["name"] == metadata["name"]:
        return str(node["name"])
    short = node["id"].rpartition("-")[2]
    template = () if ".inline" in node["name"] else (node.get("templateName") or "",)
    return "-".join([metadata["name"], *template, short])


def step_nodes(workflow: Mapping[str, Any], steps: Collection[str]) -> dict[str, StepNodes]:
    """Step -> its nodes, for the steps that the workflow has.

    The node of a step encloses those of its attempts, so their names begin with its own. Children are no help: the child of a retried step
    is a node for the retries, and the children of an attempt are the steps that follow.
    """
    nodes = list(((workflow.get("status") or {}).get("nodes") or {}).values())
    found = {}
    for step in steps:
        own = [node for node in nodes if node.get("displayName") == step and node["name"].rpartition(".")[2] == step]
        if own:
            found[step] = _step(workflow, nodes, own[0])
    return found


def count_pods(workflow: Mapping[str, Any]) -> dict[str, int]:
    """Kind -> number of pods that a run had; "sub-DAG" are the drivers of pipelines and groups inside it."""
    counts = {EXECUTOR: 0, DRIVER: 0, "sub-DAG": 0}
    for node in ((workflow.get("status") or {}).get("nodes") or {}).values():
        if node.get("type") == "Pod":
            template = node.get("templateName") or ""
            counts["sub-DAG" if template.endswith("dag-driver") else DRIVER if template.endswith("driver") else EXECUTOR] += 1
    return counts


def _step(workflow: Mapping[str, Any], nodes: list[Mapping[str, Any]], own: Mapping[str, Any]) -> StepNodes:
    name = own["name"]
    drivers = [node for node in nodes if node["name"] == f"{name}-driver" or node["name"].startswith(f"{name}-driver(")]
    inside = [node for node in nodes if node["name"].startswith((f"{name}.", f"{name}("))]
    attempts = [node for node in (own, *inside) if node.get("type") == "Pod"]
    attempts.sort(key=lambda node: (node.get("startedAt") or "", _attempt(node["name"])))
    state = STATES.get(own.get("phase") or "", "")
    if state == "SUCCEEDED" and not attempts and any(node.get("type") == "Skipped" for node in inside):
        state = "CACHED"
    failed_driver = next((node for node in drivers if STATES.get(node.get("phase") or "") == "FAILED"), None)
    if failed_driver is not None and not attempts:
        state = "FAILED"
    pods = [_pod(workflow, node, DRIVER) for node in drivers if node.get("type") == "Pod"]
    pods += [_pod(workflow, node, EXECUTOR) for node in attempts]
    last = failed_driver or (attempts[-1] if attempts else own)
    message = str(last.get("message") or own.get("message") or "") if state == "FAILED" else ""
    return StepNodes(state, tuple(pods), own.get("startedAt") or "", own.get("finishedAt") or "", message)


def _pod(workflow: Mapping[str, Any], node: Mapping[str, Any], kind: str) -> Pod:
    return Pod(pod_name(workflow, node), kind, STATES.get(node.get("phase") or "", ""), str(node["id"]))


def _attempt(name: str) -> int:
    """The number in ``executor(2)``."""
    number = name.rpartition("(")[2].removesuffix(")")
    return int(number) if number.isdigit() else 0
