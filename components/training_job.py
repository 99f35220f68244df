"""Training on several machines: a TFJob (kubeflow.org/v1) of Kubeflow's training operator is made, waited for, and believed.

The operator starts the workers, gives each its TF_CONFIG, and says in the job's conditions how it ended. A launcher that is stopped takes
the job with it; one that was killed and started again finds the job and goes on waiting.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.adapters import run_step
from data_prep.durable import write_file
from nann.artifacts import MANIFEST_NAME, StepResult, open_artifact
from nann.digests import sha256_file
from nann.errors import TrainingError
from nann.placing import remove_artifact
from nann.steps.table import TRAIN

GROUP, VERSION, PLURAL = "kubeflow.org", "v1", "tfjobs"
CONTAINER = "tensorflow"  # the name by which the operator knows whom to give TF_CONFIG
NAME_LABEL = "training.kubeflow.org/job-name"
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
BUSY = {429, 500, 502, 503, 504}
LOG_LINES = 40
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long the launcher waits, in seconds.

    Attributes:
        poll: between two looks at the job.
        outage: without any answer of the API server before the launcher gives up.
        request: for one request.
    """

    poll: float = 10.0
    outage: float = 300.0
    request: float = 30.0


def run_train_step(given: Mapping[str, Any]) -> str:
    """`run_step` for `train` with the workers of the training job ``job``; the other arguments are those of `components.train`."""
    return run_step(TRAIN.name, given, function=train_on_workers(given["job"], given["run_dir"]))


def train_on_workers(job: Mapping[str, Any], run_dir: str, patience: Patience | None = None) -> Callable[..., StepResult]:
    """A stand-in for the step function `train` that has the work done by the workers of a training job.

    Args:
        job: ``workers``, ``template`` (a pod template whose container `CONTAINER` gets its command here) and ``timeout_seconds`` (0: none).
        run_dir: directory of the run; without one the workers could not see each other's files.
        patience: for tests.
    """

    def train(*, dataset: Path, model: Path, config: BaseModel, overwrite: bool = False, **more: Path) -> StepResult:
        import yaml

        if not run_dir:
            raise TrainingError("several workers need a directory that all of them see, but run_dir is empty; submit with --run-dir")
        workers, template, timeout = int(job["workers"]), _whole_numbers(job["template"]), int(job.get("timeout_seconds", 0))
        before = _digest(model)
        model.parent.mkdir(parents=True, exist_ok=True)
        options = model.with_name(f".{model.name}.options.yaml")  # beside the artifacts, where every worker sees it
        write_file(options, yaml.safe_dump({TRAIN.name: config.model_dump(mode="json", exclude_none=True)}))
        command = ["nann", "train", "--dataset", str(dataset), "--model", str(model), "--config", str(options)]
        command += [word for name, path in more.items() for word in (f"--{name.replace('_', '-')}", str(path))]
        body = tf_job(template, [*command, "--overwrite"] if overwrite else command, workers=workers, timeout_seconds=timeout)
        TrainingJob(body, patience or Patience()).run()
        made = open_artifact(model, step="train")
        options.unlink()
        for left in model.parent.glob(f".{model.name}.worker-*"):  # every worker but the first writes what the first writes
            remove_artifact(left, TRAIN.name)
        return StepResult(path=made.path, metrics=made.metrics, reused=made.digest == before)

    return train


def tf_job(template: Mapping[str, Any], command: list[str], *, workers: int, timeout_seconds: int = 0) -> dict[str, Any]:
    """The body of a TFJob that runs one command on all workers; its name is the same for the same content."""
    template = json.loads(json.dumps(template))
    [container] = [container for container in template["spec"]["containers"] if container["name"] == CONTAINER]
    container["command"] = command
    spec = {
        # One worker cannot go on without the others: the first failure ends the job, and the pipeline's retry begins anew.
        "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": 0, "ttlSecondsAfterFinished": 86400}
        | ({"activeDeadlineSeconds": timeout_seconds} if timeout_seconds else {}),
        "successPolicy": "AllWorkers",
        "tfReplicaSpecs": {"Worker": {"replicas": workers, "restartPolicy": "Never", "template": template}},
    }
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    metadata = {"name": f"nann-train-{digest[:16]}", "labels": {"app.kubernetes.io/name": "nann-pipeline"}}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TFJob", "metadata": metadata, "spec": spec}


class TrainingJob:
    """One job on the cluster that KUBECONFIG or the pod's service account names."""

    def __init__(self, body: Mapping[str, Any], patience: Patience) -> None:
        from kubernetes import client, config

        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config()
        else:
            config.load_kube_config()
        self._body, self._patience, self.name = dict(body), patience, str(body["metadata"]["name"])
        self.namespace = _namespace()
        self._jobs, self._pods = client.CustomObjectsApi(), client.CoreV1Api()

    def run(self) -> None:
        """Makes the job, or finds it, and returns when it has succeeded.

        Raises:
            TrainingError: it failed, was deleted, or the API server refuses or does not answer.
        """
        with _termination_as_exit():
            self._create()
            try:
                self._wait()
            except (KeyboardInterrupt, SystemExit):
                logger.warning("the launcher is stopped, and the training job %s with it", self.name)
                with suppress(TrainingError):
                    self._delete()
                raise

    def _create(self) -> None:
        answer = self._call("create", body=self._body, conflict_is_fine=True)
        if answer is not None:
            logger.info("training job %s of %d workers made", self.name, self._replicas())
            return
        found = self._call("get")
        if _outcome(found)[0] in ("", "Running", "Created", "Restarting"):
            logger.info("training job %s is there already, of a launcher that was killed; waiting for it", self.name)
            return
        self._delete()
        end = time.monotonic() + self._patience.outage
        while self._call("create", body=self._body, conflict_is_fine=True) is None:  # until the old one's pods are gone
            if time.monotonic() > end:
                raise TrainingError(f"the finished training job {self.name} is still there; `kubectl delete tfjob {self.name}`")
            time.sleep(self._patience.poll)
        logger.info("training job %s of %d workers made, in place of one that ended", self.name, self._replicas())

    def _wait(self) -> None:
        shown: str | None = None
        while True:
            kind, text = _outcome(self._call("get"))
            if kind != shown:
                logger.info("training job %s: %s%s", self.name, kind or "accepted", f" ({text})" if text else "")
                shown = kind
            if kind == "Succeeded":
                return
            if kind == "Failed":
                self._show_logs()
                remedy = f"`kubectl logs -n {self.namespace} -l {NAME_LABEL}={self.name} --prefix` shows what its workers wrote"
                raise TrainingError(f"the training job {self.name} failed: {text or 'no reason given'}; {remedy}")
            time.sleep(self._patience.poll)

    def _delete(self) -> None:
        self._call("delete", gone_is_fine=True)

    def _replicas(self) -> int:
        return int(self._body["spec"]["tfReplicaSpecs"]["Worker"]["replicas"])

    def _call(self, verb: str, *, conflict_is_fine: bool = False, gone_is_fine: bool = False, **body: Any) -> Any:
        """One request, again and again while the server is away; every request here may be repeated, for the job has a name.

        Returns:
            the answer; None for a conflict or an absence that is fine.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        where = (GROUP, VERSION, self.namespace, PLURAL, *(() if verb == "create" else (self.name,)))
        if verb == "delete":
            body["propagation_policy"] = "Foreground"
        end, pause = time.monotonic() + self._patience.outage, min(1.0, self._patience.poll)
        while True:
            try:
                call = getattr(self._jobs, f"{verb}_namespaced_custom_object")
                return call(*where, **body, _request_timeout=(self._patience.request, self._patience.request))
            except ApiException as error:
                if (error.status == 409 and conflict_is_fine) or (error.status == 404 and gone_is_fine):
                    return None
                if error.status not in BUSY or time.monotonic() > end:
                    raise TrainingError(_refusal(verb, self.name, self.namespace, error)) from error
                logger.warning("the Kubernetes API answers %s; trying again", error.status)
            except HTTPError as error:
                if time.monotonic() > end:
                    text = " ".join(str(error).split())[:300]
                    raise TrainingError(f"the Kubernetes API does not answer, the training job {self.name} may go on: {text}") from error
                logger.warning("the Kubernetes API does not answer; trying again")
            time.sleep(pause)
            pause = min(2 * pause, 30.0)

    def _show_logs(self) -> None:
        """The last lines of every worker that failed, where the service account may read them."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        limits = (self._patience.request, self._patience.request)
        try:
            pods = self._pods.list_namespaced_pod(self.namespace, label_selector=f"{NAME_LABEL}={self.name}", _request_timeout=limits)
            for pod in pods.items:
                if pod.status is None or pod.status.phase != "Failed":
                    continue
                name = pod.metadata.name
                text = self._pods.read_namespaced_pod_log(
                    name, self.namespace, container=CONTAINER, tail_lines=LOG_LINES, _request_timeout=limits
                )
                logger.warning("the last lines of worker %s:\n%s", name, text.rstrip())
        except (ApiException, HTTPError) as error:
            logger.warning("the logs of the workers cannot be read: %s", " ".join(str(error).split())[:200])


def _outcome(job: Mapping[str, Any]) -> tuple[str, str]:
    """Type of the newest condition that holds, with its reason and message; ("", "") before there is one.

    An end holds whatever else is said: conditions are a list in the order of their first change.
    """
    conditions = [found for found in job.get("status", {}).get("conditions") or () if found.get("status") == "True"]
    if not conditions:
        return "", ""
    newest = next((found for found in conditions if found["type"] in ("Failed", "Succeeded")), conditions[-1])
    return str(newest["type"]), ": ".join(str(newest[key]) for key in ("reason", "message") if newest.get(key))


def _refusal(verb: str, name: str, namespace: str, error: Any) -> str:
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = error.reason
    text = f"the Kubernetes API refuses to {verb} the training job {name} in namespace {namespace}: {error.status} {message}"
    if error.status == 403:
        text += "; the pipeline's service account needs the role in docs/cluster.md"
    if error.status == 404 and verb == "create":
        text += "; is Kubeflow's training operator installed?"
    if error.status == 404 and verb == "get":
        text += "; somebody deleted it"
    return text


def _digest(model: Path) -> str:
    manifest = model / MANIFEST_NAME
    return sha256_file(manifest) if manifest.is_file() else ""


def _namespace() -> str:
    if NAMESPACE_FILE.is_file():
        return NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    from kubernetes import config

    return str(config.list_kube_config_contexts()[1]["context"].get("namespace", "default"))


def _whole_numbers(value: Any) -> Any:
    """kfp hands structs over with every number as a float; Kubernetes wants whole numbers where it counts."""
    if isinstance(value, Mapping):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@contextmanager
def _termination_as_exit() -> Iterator[None]:
    """Kubernetes ends a pod with SIGTERM; the job must not outlive its launcher."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
