"""How many pods a run of a compiled pipeline takes on Kubeflow Pipelines 2.17, by what they are for.

The server makes them by its own rule (kubeflow/pipelines, backend/src/v2/compiler/argocompiler: dag.go, container.go, importer.go): a
driver for the pipeline and for each pipeline, group or loop inside it, one more for each pass of a loop; a driver and an executor for
each task. A task found in the cache has no executor, a task that is retried has more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PodCount:
    """Pods of one run.

    Attributes:
        executors: do the work.
        drivers: prepare one executor each.
        sub_dags: drivers of the pipeline itself and of pipelines, groups and loops inside it.
    """

    executors: int = 0
    drivers: int = 0
    sub_dags: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.executors + self.drivers + self.sub_dags

    def __add__(self, other: PodCount) -> PodCount:
        return PodCount(self.executors + other.executors, self.drivers + other.drivers, self.sub_dags + other.sub_dags)

    def __mul__(self, times: int) -> PodCount:
        return PodCount(self.executors * times, self.drivers * times, self.sub_dags * times)

    def __str__(self) -> str:
        return f"{self.total} pods: {self.executors} executors, {self.drivers} drivers, {self.sub_dags} drivers of (sub-)DAGs"


def count_spec_pods(spec: Mapping[str, Any], passes: int = 1) -> PodCount:
    """Pods of a run of a compiled pipeline in which nothing is cached, skipped or retried.

    Args:
        spec: the compiled document.
        passes: of every loop.
    """
    return PodCount(sub_dags=1) + _dag(spec, spec["root"]["dag"], passes)


def has_loops(spec: Mapping[str, Any]) -> bool:
    """Whether a compiled pipeline loops over anything."""
    dags = [spec["root"]["dag"], *(component["dag"] for component in spec.get("components", {}).values() if "dag" in component)]
    return any(_iterates(task) for dag in dags for task in dag["tasks"].values())


def _dag(spec: Mapping[str, Any], dag: Mapping[str, Any], passes: int) -> PodCount:
    count = PodCount()
    for task in dag["tasks"].values():
        component = spec["components"][task["componentRef"]["name"]]
        if "dag" in component:
            inside = PodCount(sub_dags=1) + _dag(spec, component["dag"], passes)
        elif "importer" in spec["deploymentSpec"]["executors"][component["executorLabel"]]:
            inside = PodCount(executors=1)
        else:
            inside = PodCount(executors=1, drivers=1)
        count += PodCount(sub_dags=1) + inside * passes if _iterates(task) else inside
    return count


def _iterates(task: Mapping[str, Any]) -> bool:
    return "parameterIterator" in task or "artifactIterator" in task
