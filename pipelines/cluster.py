"""A Kubeflow Pipelines API server: submit, watch and schedule runs, with time-outs, retries, and errors in one line.

Reads are tried again when the server is busy or gone for a moment. Writes are not: a second run or schedule would be worse than an error.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nann.errors import NannError
from pipelines.run_state import RunState, pipeline_name, read_run

TRIES = 4
BUSY = {429, 500, 502, 503, 504}
PAGE = 100
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
logger = logging.getLogger(__name__)


class ClusterError(NannError):
    """The API server refuses, does not answer, or does not know what is asked for.

    Attributes:
        status: HTTP status of its answer; 0: there was none.
        explanation: what the answer says about it, or "".
    """

    def __init__(self, message: str, status: int = 0, explanation: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.explanation = explanation


@dataclass(frozen=True)
class Server:
    """Where the API is.

    Attributes:
        host: its URL; "": found in the cluster, by the pod's service account.
        namespace: Kubernetes namespace, for multi-user installations.
        token: bearer token, or "".
        timeout_seconds: limit of one request.
        retry_seconds: pause before the second try of a read; doubled for each further one.
    """

    host: str = ""
    namespace: str = "kubeflow"
    token: str = ""
    timeout_seconds: float = 30.0
    retry_seconds: float = 1.0


class Cluster:
    """Calls to one API server; the client is made with the first of them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._made: Any = None

    @property
    def _client(self) -> Any:
        if self._made is None:
            import kfp_server_api

            configuration = kfp_server_api.Configuration(host=self._server.host.rstrip("/") or _host_in_cluster(self._server.namespace))
            token = self._server.token or ("" if self._server.host else _service_account_token())
            if token:
                configuration.api_key["authorization"] = token
                configuration.api_key_prefix["authorization"] = "Bearer"
            configuration.retries = False  # urllib3 would repeat writes too
            self._made = kfp_server_api.ApiClient(configuration)
        return self._made

    @property
    def _limits(self) -> tuple[float, float]:
        """Seconds to connect and to answer; kfp-server-api ignores a single float without a word."""
        return self._server.timeout_seconds, self._server.timeout_seconds

    def _service(self, name: str) -> Any:
        import kfp_server_api

        return getattr(kfp_server_api, f"{name.title().replace('_', '')}ServiceApi")(self._client)

    def _call(self, service: str, method: str, *arguments: Any, again: bool = True, **named: Any) -> Any:
        """Calls a method of the generated API of kfp-server-api."""
        prefix = "" if service == "pipeline_upload" else f"{service}_service_"
        return self._tried(
            lambda: getattr(self._service(service), f"{prefix}{method}")(*arguments, **named, _request_timeout=self._limits),
            again=again,
        )

    def read(self, path: str, *, busy: Collection[int] = BUSY, **query: str) -> bytes:
        """The body of a GET, for answers that the generated API has no model for.

        Args:
            path: below the host.
            busy: statuses after which it is tried again.
            query: parameters.

        Raises:
            ClusterError: the server refuses (its `status` says how), or does not answer.
        """
        answer = self._tried(
            lambda: (
                self._client.call_api(
                    path,
                    "GET",
                    query_params=list(query.items()),
                    header_params={"Accept": "*/*"},
                    auth_settings=["Bearer"],
                    _preload_content=False,
                    _return_http_data_only=True,
                    _request_timeout=self._limits,
                ).data
            ),
            busy=busy,
        )
        return bytes(answer)

    def read_json(self, path: str, **query: str) -> dict[str, Any]:
        """The JSON object that a GET answers."""
        body = self.read(path, **query)
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise ClusterError(f"{self.where} answers {path} with {body[:80]!r}, which is no JSON; is --host the API server?") from error
        return dict(answer)

    @property
    def where(self) -> str:
        """The server, for messages."""
        return self._server.host or "the cluster"

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace of runs."""
        return self._server.namespace

    def _tried(self, call: Callable[[], Any], *, again: bool = True, busy: Collection[int] = BUSY) -> Any:
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        pause = self._server.retry_seconds
        for left in range(TRIES if again else 1, 0, -1):
            try:
                return call()
            except ApiException as error:
                if error.status not in busy or left == 1:
                    told = _explanation(error.body)
                    message = f"{self.where} answers {error.status} {error.reason}{f': {told}' if told else ''}"
                    raise ClusterError(message, error.status, told) from error
                logger.warning("%s answers %s; trying again in %.1f s", self.where, error.status, pause)
            except HTTPError as error:
                if left == 1:
                    outcome = "" if again else "; whether it did what was asked is not known, look with `nann pipeline list`"
                    raise ClusterError(f"{self.where} does not answer: {' '.join(str(error).split())[:300]}{outcome}") from error
                logger.warning("%s does not answer; trying again in %.1f s", self.where, pause)
            time.sleep(pause)
            pause *= 2
        raise AssertionError("the last try returns or raises")

    def _pages(self, service: str, method: str, field: str, **named: Any) -> Iterator[Any]:
        token = ""
        while True:
            page = self._call(service, method, page_size=PAGE, page_token=token, **named)
            yield from getattr(page, field) or ()
            token = page.next_page_token or ""
            if not token:
                return

    def experiment(self, name: str, *, create: bool) -> str:
        """The id of an experiment of that name.

        Raises:
            ClusterError: it is not there, and create is false.
        """
        from kfp_server_api import V2beta1Experiment

        for found in self._pages("experiment", "list_experiments", "experiments", namespace=self._server.namespace):
            if found.display_name == name:
                return str(found.experiment_id)
        if not create:
            raise ClusterError(f"there is no experiment {name!r} in namespace {self._server.namespace}; submit a run to make it")
        body = V2beta1Experiment(display_name=name, namespace=self._server.namespace)
        return str(self._call("experiment", "create_experiment", body, again=False).experiment_id)

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
        return str(self._call("run", "create_run", run, again=False).run_id)

    def run(self, run_id: str, *, pods: bool = False) -> RunState:
        """A run as the server describes it.

        Args:
            run_id: its id.
            pods: also find out the pods of its steps, which takes a second request on servers that do not tell them.
        """
        answer = self.read_json(f"/apis/v2beta1/runs/{run_id}", view="FULL")
        workflow = None
        if pods and not answer.get("tasks"):
            workflow = self.workflow(run_id)
        return read_run(answer, workflow)

    def workflow(self, run_id: str) -> dict[str, Any] | None:
        """The Argo workflow of a run from the v1beta1 API; None where the server has none, or has that API no more."""
        try:
            answer = self.read_json(f"/apis/v1beta1/runs/{run_id}")
        except ClusterError as error:
            if error.status in (403, 404, 501):
                return None
            raise
        text = (answer.get("pipeline_runtime") or {}).get("workflow_manifest") or ""
        return dict(json.loads(text)) if text else None

    def newest_run(self, pipeline: str) -> str:
        """The id of the newest run of a pipeline.

        Raises:
            ClusterError: there is none.
        """
        found = self.runs(limit=1, pipeline=pipeline)
        if not found:
            raise ClusterError(f"there is no run of the pipeline {pipeline} in namespace {self._server.namespace}; name a run by its id")
        return str(found[0].run_id)

    def runs(self, experiment: str = "", limit: int = 20, pipeline: str = "") -> list[Any]:
        """The newest runs; those of one pipeline by its name in the compiled document (``nann-training``)."""
        scope = {"experiment_id": self.experiment(experiment, create=False)} if experiment else {"namespace": self._server.namespace}
        found = []
        for run in self._pages("run", "list_runs", "runs", sort_by="created_at desc", **scope):
            if not pipeline or pipeline_of(run) == pipeline:
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
            if run.finished:
                return run
            if timeout_seconds and time.monotonic() + poll_seconds > end:
                raise ClusterError(f"run {run_id} is {run.state} after {timeout_seconds:g} s; it goes on, `nann pipeline wait` waits again")
            time.sleep(poll_seconds)

    def schedules(self) -> list[Any]:
        """All recurring runs of the namespace (V2beta1RecurringRun)."""
        return list(self._pages("recurring_run", "list_recurring_runs", "recurring_runs", namespace=self._server.namespace))

    def create_schedule(self, body: Any) -> str:
        """Makes a recurring run; returns its id."""
        return str(self._call("recurring_run", "create_recurring_run", body, again=False).recurring_run_id)

    def delete_schedule(self, recurring_run_id: str) -> None:
        """Deletes a recurring run; runs it started go on."""
        self._call("recurring_run", "delete_recurring_run", recurring_run_id, again=False)


def with_caching(spec: dict[str, Any], enabled: bool, *, inputs_known: bool = False) -> dict[str, Any]:
    """The document with its tasks' caches as asked for.

    A task that reads what its inputs do not describe never has a cache in the compiled document: the exit task, and the first step, which
    reads logs by their paths.

    Args:
        spec: the compiled pipeline.
        enabled: false turns the cache of every task off.
        inputs_known: the parameter ``input_digest`` identifies the contents of the logs, so the steps that take it may be cached too.
    """
    for dag in [spec["root"]["dag"], *(component["dag"] for component in spec.get("components", {}).values() if "dag" in component)]:
        for task in dag["tasks"].values():
            reads_logs = "inputs" in task.get("inputs", {}).get("parameters", {}) and "input_digest" in task["inputs"]["parameters"]
            if not enabled:
                task["cachingOptions"] = {}
            elif inputs_known and reads_logs:
                task["cachingOptions"] = {"enableCache": True}
    return spec


def pipeline_of(run: Any) -> str:
    """Name of the pipeline in the document that a run or a schedule was made from, or ""."""
    return pipeline_name(run.pipeline_spec)


def _host_in_cluster(namespace: str) -> str:
    if not SERVICE_ACCOUNT.is_dir():
        raise ClusterError("this is not a pod of a cluster, so the API server must be named; give --host, or set NANN_KFP_HOST")
    return f"http://ml-pipeline.{namespace}.svc.cluster.local:8888"


def _service_account_token() -> str:
    """The token that the pod's projected volume holds for the API, or ""."""
    path = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", "/var/run/secrets/kubeflow/pipelines/token"))
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _explanation(body: Any) -> str:
    """The server's reason: ``message`` of an API error, ``error_message`` of a log that could not be read."""
    try:
        content = json.loads(body)
        message = content.get("message") or content.get("error_message") or ""
    except (TypeError, ValueError, AttributeError):
        message = ""
    return " ".join(str(message).split())
