"""What is asked of a Kubeflow Pipelines API server: runs, schedules, and uploaded pipelines."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.api_server import ApiServer, ClusterError
from pipelines.run_state import RunState, pipeline_name, read_run


class Cluster(ApiServer):
    """One API server and what it keeps."""

    def experiment(self, name: str, *, create: bool) -> str:
        """The id of an experiment of that name.

        Raises:
            ClusterError: it is not there, and create is false.
        """
        from kfp_server_api import V2beta1Experiment

        for found in self.pages("experiment", "list_experiments", "experiments", namespace=self.namespace):
            if found.display_name == name:
                return str(found.experiment_id)
        if not create:
            raise ClusterError(f"there is no experiment {name!r} in namespace {self.namespace}; submit a run to make it")
        body = V2beta1Experiment(display_name=name, namespace=self.namespace)
        return str(self.call("experiment", "create_experiment", body, again=False).experiment_id)

    def submit(
        self,
        spec: Mapping[str, Any],
        *,
        experiment: str,
        name: str,
        parameters: Mapping[str, Any],
        pipeline_root: str = "",
        service_account: str = "",
    ) -> str:
        """Starts a run of a compiled pipeline; returns its id."""
        from kfp_server_api import V2beta1Run, V2beta1RuntimeConfig

        run = V2beta1Run(
            experiment_id=self.experiment(experiment, create=True),
            display_name=name,
            pipeline_spec=dict(spec),
            runtime_config=V2beta1RuntimeConfig(parameters=dict(parameters), pipeline_root=pipeline_root or None),
            service_account=service_account or None,
        )
        return str(self.call("run", "create_run", run, again=False).run_id)

    def run(self, run_id: str, *, pods: bool = False) -> RunState:
        """A run as the server describes it.

        Args:
            run_id: its id.
            pods: also find out the pods of its steps, which takes a second request on servers that do not tell them.
        """
        answer = self.read_json(f"/apis/v2beta1/runs/{quote(run_id, safe='')}", view="FULL")
        if not answer.get("run_id"):
            raise ClusterError(f"what {self.where} answers to {run_id!r} has no run in it; is --host the API server?")
        workflow = None
        if pods and not answer.get("tasks"):
            workflow = self.workflow(run_id)
        run = read_run(answer, workflow)
        reference = (answer.get("pipeline_version_reference") or {}).get("pipeline_id")
        return run if run.pipeline or not reference else replace(run, pipeline=self.uploaded_names.get(reference, ""))

    def workflow(self, run_id: str) -> dict[str, Any] | None:
        """The Argo workflow of a run from the v1beta1 API; None where the server has none, or none to be read, or that API no more."""
        try:
            answer = self.read_json(f"/apis/v1beta1/runs/{quote(run_id, safe='')}")
        except ClusterError as error:
            if error.status in (403, 404, 501):
                return None
            raise
        text = (answer.get("pipeline_runtime") or {}).get("workflow_manifest") or ""
        try:
            workflow = json.loads(text or "null")
        except ValueError:
            return None
        return workflow if isinstance(workflow, dict) and (workflow.get("metadata") or {}).get("name") else None

    def newest_run(self, pipeline: str) -> str:
        """The id of the newest run of a pipeline.

        Raises:
            ClusterError: there is none.
        """
        found = self.runs(limit=1, pipeline=pipeline)
        if not found:
            raise ClusterError(f"there is no run of the pipeline {pipeline} in namespace {self.namespace}; name a run by its id")
        return str(found[0].run_id)

    def runs(self, experiment: str = "", limit: int = 20, pipeline: str = "", schedules: Collection[str] | None = None) -> list[Any]:
        """The newest runs (V2beta1Run).

        Args:
            experiment: only runs of the experiment of this name.
            limit: at most so many.
            pipeline: only runs of this pipeline, by its name in the compiled document (``nann-training``); of uploaded ones too.
            schedules: only runs that these recurring runs started, by their ids.
        """
        scope = {"experiment_id": self.experiment(experiment, create=False)} if experiment else {"namespace": self.namespace}
        found = []
        for run in self.pages("run", "list_runs", "runs", sort_by="created_at desc", **scope):
            if _is_of(pipeline, self.pipeline_of(run)) and (schedules is None or run.recurring_run_id in schedules):
                found.append(run)
            if len(found) == limit:
                break
        return found

    def wait(self, run_id: str, *, timeout_seconds: float, poll_seconds: float, show: Callable[[RunState], None]) -> RunState:
        """Waits for the end of a run, whatever it is; `show` is called with each description.

        Raises:
            ClusterError: it does not end in time (0: no limit).
        """
        end = time.monotonic() + timeout_seconds
        while True:
            run = self.run(run_id)
            show(run)
            if run.finished:  # only with its pods it is known which driver failed
                return run if run.state == "SUCCEEDED" else self.run(run_id, pods=True)
            if timeout_seconds and time.monotonic() + poll_seconds > end:
                raise ClusterError(f"run {run_id} is {run.state} after {timeout_seconds:g} s; it goes on, `nann pipeline wait` waits again")
            time.sleep(poll_seconds)

    def schedules(self, name: str = "") -> list[Any]:
        """The recurring runs of the namespace (V2beta1RecurringRun), or those of one name."""
        found = self.pages("recurring_run", "list_recurring_runs", "recurring_runs", namespace=self.namespace)
        return [schedule for schedule in found if name in ("", schedule.display_name)]

    def create_schedule(self, body: Any) -> str:
        """Makes a recurring run; returns its id."""
        return str(self.call("recurring_run", "create_recurring_run", body, again=False).recurring_run_id)

    def delete_schedule(self, recurring_run_id: str) -> None:
        """Deletes a recurring run; runs it started go on, where the server knows how to leave them alone (2.15 did not)."""
        self.call("recurring_run", "delete_recurring_run", recurring_run_id, propagation_policy="ORPHAN", again=False)

    def enable_schedule(self, recurring_run_id: str, enabled: bool) -> None:
        """Lets a recurring run start runs, or keeps it from that; runs it started go on."""
        verb = "enable" if enabled else "disable"
        self.call("recurring_run", f"{verb}_recurring_run", recurring_run_id, again=False)

    def health(self) -> dict[str, Any]:
        """What the server says of itself: ``tag_name`` (its version), ``commit_sha``, ``multi_user``."""
        return self.read_json("/apis/v2beta1/healthz")

    def pipeline_of(self, run: Any) -> str:
        """Name of the pipeline in the document that a run or a schedule was made from; of an uploaded one its name on the server.

        The server gives a run's document or a reference to an uploaded version, never both.
        """
        reference = run.pipeline_version_reference.pipeline_id if run.pipeline_version_reference else ""
        return pipeline_name(run.pipeline_spec) or (self.uploaded_names.get(reference, "") if reference else "")

    @functools.cached_property
    def uploaded_names(self) -> dict[str, str]:
        """Id -> name of all uploaded pipelines, as they were when this was first asked for."""
        found = self.pages("pipeline", "list_pipelines", "pipelines", **self._pipeline_scope())
        return {str(pipeline.pipeline_id): str(pipeline.name or pipeline.display_name) for pipeline in found}

    def pipeline_id(self, name: str) -> str:
        """The id of an uploaded pipeline of that name, or ""."""
        found = self.pages("pipeline", "list_pipelines", "pipelines", **self._pipeline_scope())
        return next((str(pipeline.pipeline_id) for pipeline in found if name in (pipeline.name, pipeline.display_name)), "")

    def newest_version(self, pipeline_id: str) -> str:
        """The name of the newest version of an uploaded pipeline, or ""."""
        versions = self.pages("pipeline", "list_pipeline_versions", "pipeline_versions", pipeline_id, sort_by="created_at desc")
        newest = next(versions, None)
        return str(newest.display_name or newest.name or "") if newest else ""

    def create_pipeline(self, name: str) -> str:
        """Makes a pipeline without a version; returns its id."""
        from kfp_server_api import V2beta1Pipeline

        body = V2beta1Pipeline(name=name, display_name=name, **self._pipeline_scope())
        return str(self.call("pipeline", "create_pipeline", body, again=False).pipeline_id)

    def create_version(self, pipeline_id: str, version: str, file: Path) -> str:
        """Uploads a compiled pipeline as the newest version of one; returns the id of the version."""
        made = self.call("pipeline_upload", "upload_pipeline_version", str(file), name=version, pipelineid=pipeline_id, again=False)
        return str(made.pipeline_version_id)

    def _pipeline_scope(self) -> dict[str, str]:
        """Uploaded pipelines belong to a namespace only where there are several users."""
        return {"namespace": self.namespace} if self.health().get("multi_user") else {}


def _is_of(pipeline: str, name: str) -> bool:
    """Whether a pipeline is meant by the name of its document (``nann-training``); an uploaded one has its profile behind that."""
    return pipeline in ("", name) or name.startswith(f"{pipeline}-")
