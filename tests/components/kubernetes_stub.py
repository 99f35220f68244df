"""A stand-in for the Kubernetes API with Kubeflow's training operator behind it, for contract tests.

A TFJob is held against the types and rules of the operator (kubeflow.org/v1: its `tensorflow_types.go`, `common_types.go` and
`tensorflow_validation.go`), its pod template against the models of the Kubernetes client; anything else is refused, as by the real server.
Jobs go through the conditions a test writes down, or their workers are run for real, with the TF_CONFIG the operator would give them.
"""

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import kubernetes.client as kubernetes

_spec = importlib.util.spec_from_file_location("api_models", Path(__file__).parents[1] / "api_models.py")
api_models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(api_models)
Refused, MODELS = api_models.Refused, vars(kubernetes)

QUANTITY = re.compile(r"\d+(\.\d+)?(m|[kMGTPE]|[KMGTPE]i)?")
RUN_POLICY = {
    "cleanPodPolicy": ("", "All", "Running", "None"),
    "ttlSecondsAfterFinished": int,
    "activeDeadlineSeconds": int,
    "backoffLimit": int,
    "schedulingPolicy": dict,
    "suspend": bool,
}
JOB_SPEC = {"runPolicy": RUN_POLICY, "successPolicy": ("", "AllWorkers"), "tfReplicaSpecs": dict, "enableDynamicWorker": bool}
REPLICA_SPEC = {"replicas": int, "restartPolicy": ("Always", "OnFailure", "Never", "ExitCode"), "template": dict}
REPLICA_TYPES = {"PS", "Worker", "Chief", "Master", "Evaluator"}


def check_fields(value: Any, rules: dict[str, Any], where: str) -> None:
    for name, item in value.items():
        if name not in rules:
            raise Refused(f"{where}: unknown field {name!r}")
        rule = rules[name]
        if isinstance(rule, dict):
            check_fields(item, rule, f"{where}.{name}")
        elif isinstance(rule, tuple):
            if item not in rule:
                raise Refused(f"{where}.{name}: must be one of {rule}, but it is {item!r}")
        elif type(item) is not rule:
            raise Refused(f"{where}.{name}: must be {rule.__name__}, but it is {item!r}")


def check_job(job: Any) -> None:
    """Refuses what the API server (types) or the operator (rules) would refuse."""
    check_fields(job, {"apiVersion": ("kubeflow.org/v1",), "kind": ("TFJob",), "metadata": dict, "spec": JOB_SPEC}, "TFJob")
    api_models.check(job["metadata"], "V1ObjectMeta", "metadata", MODELS)
    # The longest name of a worker's service must be a label too.
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"]) or len(job["metadata"]["name"] + "-worker-99") > 63:
        raise Refused(f"metadata.name: no DNS-1035 label: {job['metadata']['name']!r}")
    if not set(job["spec"]["tfReplicaSpecs"]) <= REPLICA_TYPES:
        raise Refused(f"unknown replica types in {sorted(job['spec']['tfReplicaSpecs'])}")
    for kind, replica in job["spec"]["tfReplicaSpecs"].items():
        check_fields(replica, REPLICA_SPEC, kind)
        check_template(replica["template"])


def check_template(template: Any) -> None:
    api_models.check(template, "V1PodTemplateSpec", "template", MODELS)
    kubernetes.ApiClient()._ApiClient__deserialize(template, "V1PodTemplateSpec")  # raises where something needed is missing
    containers, volumes = template["spec"]["containers"], {volume["name"] for volume in template["spec"].get("volumes", ())}
    if "tensorflow" not in [container["name"] for container in containers]:
        raise Refused("there is no container named tensorflow")
    for container in containers:
        if not container.get("image"):
            raise Refused("a container has no image")
        if {mount["name"] for mount in container.get("volumeMounts", ())} - volumes:
            raise Refused("a mount names no volume")
        for amounts in container.get("resources", {}).values():
            for name, amount in amounts.items():
                if not QUANTITY.fullmatch(amount):
                    raise Refused(f"{name}: no quantity: {amount!r}")


class Stub(ThreadingHTTPServer):
    """The server. `conditions` are served one after the other, the last one for ever; faults are as in the stub of kfp."""

    daemon_threads = True

    def __init__(self, *, run_workers: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.run_workers = run_workers
        self.jobs: dict[str, Any] = {}
        self.conditions: list[list[tuple[str, str, str]]] = [[("Succeeded", "TFJobSucceeded", "done")]]
        self.faults: list[int | str] = []
        self.requests: list[tuple[str, str]] = []
        self.deleting: int = 0
        self.pods: list[Any] = []
        self.pod_log = ""
        self.workers: dict[str, list[subprocess.Popen[str]]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Dropped connections are on purpose."""

    def kubeconfig(self, path: Path) -> Path:
        """Writes a kubeconfig file that names this server."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stub",
            "clusters": [{"name": "stub", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}],
            "users": [{"name": "stub", "user": {"token": "secret"}}],
            "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub", "namespace": "team"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def start_workers(self, job: Any) -> None:
        """What the operator does: one process per replica, with the addresses of all and its own place among them."""
        replica = job["spec"]["tfReplicaSpecs"]["Worker"]
        [container] = replica["template"]["spec"]["containers"]
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(replica["replicas"])]
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
        for each in sockets:
            each.close()
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        self.workers[job["metadata"]["name"]] = [
            subprocess.Popen(
                container["command"],
                env=environment | {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})},
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(len(addresses))
        ]

    def conditions_of(self, name: str) -> list[tuple[str, str, str]]:
        if name not in self.workers:
            return self.conditions.pop(0) if len(self.conditions) > 1 else self.conditions[0]
        codes = [process.poll() for process in self.workers[name]]
        if any(code for code in codes if code is not None):
            for process in self.workers[name]:
                process.kill()
            return [("Running", "TFJobRunning", ""), ("Failed", "TFJobFailed", f"exit codes {codes}")]
        return [("Succeeded" if all(code == 0 for code in codes) else "Running", "", "")]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Stub

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        url = urlparse(self.path)
        self.server.requests.append((method, url.path))
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "sleep":
            time.sleep(0.6)
        if isinstance(fault, int):
            self._refuse(fault, "the server is busy" if fault != 403 else 'tfjobs.kubeflow.org is forbidden: User "x" cannot create')
            return
        try:
            answer = self._route(method, url.path, parse_qs(url.query), json.loads(body) if body else None)
            self._write(200 if method == "GET" else 201, answer)
        except (Refused, KeyError, ValueError) as error:
            missing = isinstance(error, KeyError)
            self._refuse(404 if missing else 422, f"{error.args[0]} not found" if missing else str(error))
        except FileExistsError as error:
            self._refuse(409, f"{error} already exists")

    def _route(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        server, jobs = self.server, "/apis/kubeflow.org/v1/namespaces/team/tfjobs"
        if (method, path) == ("POST", jobs):
            check_job(body)
            name = body["metadata"]["name"]
            if name in server.jobs:
                raise FileExistsError(name)
            if server.deleting:  # finalizers keep a deleted job for a while
                server.deleting -= 1
                raise FileExistsError(name)
            server.jobs[name] = body
            if server.run_workers:
                server.start_workers(body)
            return body
        if path.startswith(f"{jobs}/"):
            name = path.removeprefix(f"{jobs}/")
            if method == "DELETE":
                return server.jobs.pop(name)
            conditions = [
                {"type": kind, "status": "True", "reason": why, "message": text} for kind, why, text in server.conditions_of(name)
            ]
            return {**server.jobs[name], "status": {"conditions": conditions}}
        if path == "/api/v1/namespaces/team/pods":
            assert query["labelSelector"][0].startswith("training.kubeflow.org/job-name=")
            return {"apiVersion": "v1", "kind": "PodList", "items": server.pods}
        if re.fullmatch(r"/api/v1/namespaces/team/pods/[^/]+/log", path):
            assert query["container"] == ["tensorflow"]
            return server.pod_log
        raise KeyError(path)

    def _refuse(self, status: int, message: str) -> None:
        self._write(status, {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status, "message": message})

    def _write(self, status: int, answer: Any) -> None:
        self.send_response(status)
        self.send_header("content-type", "text/plain" if isinstance(answer, str) else "application/json")
        self.end_headers()
        self.wfile.write((answer if isinstance(answer, str) else json.dumps(answer)).encode())
