"""A Kubeflow Pipelines API server: submit, watch and schedule runs, with time-outs, retries, and errors in one line.

Reads are tried again when the server is busy or gone for a moment. Writes are not: a second run or schedule would be worse than an error.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nann.errors import NannError

TRIES = 4
BUSY = {429, 500, 502, 503, 504}
FINISHED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
PAGE = 100
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
logger = logging.getLogger(__name__)


class ClusterError(NannError):
    """The API server refuses, does not answer, or does not know what is asked for."""


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
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        where = self._server.host or "the cluster"
        pause = self._server.retry_seconds
        for left in range(TRIES if again else 1, 0, -1):
            try:
                call = getattr(self._service(service), f"{service}_service_{method}")
                return call(*arguments, **named, _request_timeout=self._limits)
            except ApiException as error:
                if error.status not in BUSY or left == 1:
                    raise ClusterError(f"{where} answers {error.status} {error.reason}{_explanation(error.body)}") from error
                logger.warning("%s answers %s; trying again in %.1f s", where, error.status, pause)
            except HTTPError as error:
                if left == 1:
                    outcome = "" if again else "; whether it did what was asked is not known, look with `nann pipeline list`"
                    raise ClusterError(f"{where} does not answer: {' '.join(str(error).split())[:300]}{outcome}") from error
                logger.warning("%s does not answer; trying again in %.1f s", where, pause)
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

    def run(self, run_id: str) -> Any:
        """A run as the server describes it (V2beta1Run)."""
        return self._call("run", "get_run", run_id)

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

    def wait(self, run_id: str, *, timeout_seconds: float, poll_seconds: float, show: Callable[[Any], None]) -> Any:
        """Waits for the end of a run, whatever it is; `show` is called with each description.

        Raises:
            ClusterError: it does not end in time (0: no limit).
        """
        end = time.monotonic() + timeout_seconds
        while True:
            run = self.run(run_id)
            show(run)
            if run.state in FINISHED:
                return run
            if timeout_seconds and time.monotonic() + poll_seconds > end:
                raise ClusterError(f"run {run_id} is {run.state} after {timeout_seconds:g} s; it goes on, `nann pipeline wait` waits again")
            time.sleep(poll_seconds)

    def log(self, run_id: str, pod: str) -> str:
        """What a pod of a run wrote; the server reads it from Kubernetes or from its archive."""
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = self._client.call_api(
                f"/apis/v2beta1/runs/{run_id}/nodes/{pod}/log",
                "GET",
                header_params={"Accept": "text/plain"},
                auth_settings=["Bearer"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=self._limits,
            )
        except ApiException as error:
            remedy = f"try `kubectl logs -n {self._server.namespace} {pod} -c main`"
            raise ClusterError(f"the server has no log of pod {pod} ({error.status} {error.reason}); {remedy}") from error
        except HTTPError as error:
            raise ClusterError(f"{self._server.host} does not answer: {' '.join(str(error).split())[:300]}") from error
        return str(answer.data.decode(errors="replace"))

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
    """Name of the pipeline in the document a run was made from, or ""; the document may be wrapped, with one for Kubernetes beside it."""
    spec = run.pipeline_spec or {}
    return str(spec.get("pipeline_spec", spec).get("pipelineInfo", {}).get("name", ""))


def _host_in_cluster(namespace: str) -> str:
    if not SERVICE_ACCOUNT.is_dir():
        raise ClusterError("this is not a pod of a cluster, so the API server must be named; give --host, or set NANN_KFP_HOST")
    return f"http://ml-pipeline.{namespace}.svc.cluster.local:8888"


def _service_account_token() -> str:
    """The token that the pod's projected volume holds for the API, or ""."""
    path = Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", "/var/run/secrets/kubeflow/pipelines/token"))
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _explanation(body: Any) -> str:
    try:
        message = json.loads(body).get("message", "")
    except (TypeError, ValueError, AttributeError):
        message = ""
    return f": {' '.join(str(message).split())}" if message else ""
