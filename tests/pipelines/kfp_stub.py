"""A stand-in for the API server of Kubeflow Pipelines in three generations, for contract tests.

- "2.17": tasks in ``run_details.task_details``, true pod names only in the workflow manifest of the v1beta1 API, logs under v1alpha1.
- "tasks": after the removal of ML Metadata: tasks in ``tasks``, with ``view=FULL``; the other routes as before.
- "v2": the API is called v2, its old name v2beta1 goes on; there are no v1beta1 and v1alpha1 any more, logs lie under v2.

Only routes that the server registers are answered, everything else with 404; `test_kfp_stub.py` says for each fact where it was read. Every
request body is read with kfp-server-api's own model and refused when it has a field that the model does not know. Faults are queued: a
number is the status of the next answer, "drop" closes the connection, "page" is a page for people, "sleep" is late.
"""

import importlib.util
import json
import re
import threading
import time
from datetime import timedelta
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import kfp_server_api as api
import yaml


def _load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


api_models = _load("api_models", Path(__file__).parents[1] / "api_models.py")
argo_workflow = _load("argo_workflow", Path(__file__).with_name("argo_workflow.py"))
Refused = api_models.Refused
NOW = argo_workflow.NOW
MODELS = vars(api)
PAGE = 2
GENERATIONS = ("2.17", "tasks", "v2")
TAGS = {"2.17": "2.17.0", "tasks": "2.18.0", "v2": "3.0.0"}  # the last two are names of this file's own: there is no release yet
FINISHED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
QUERIES = {
    "runs": {"page_token", "page_size", "sort_by", "filter", "namespace", "experiment_id", "view"},
    "experiments": {"page_token", "page_size", "sort_by", "filter", "namespace"},
    "recurringruns": {"page_token", "page_size", "sort_by", "filter", "namespace", "experiment_id", "propagation_policy"},
    "pipelines": {"page_token", "page_size", "sort_by", "filter", "namespace", "name", "display_name", "description", "pipelineid"},
}


def check(value: Any, kind: str, where: str) -> None:
    """Refuses values that are not of a kfp-server-api type, unknown fields included."""
    api_models.check(value, kind, where, MODELS)


class NotFound(Exception):
    """There is no such thing, or no such route."""


class Stub(ThreadingHTTPServer):
    """The server; its state may be looked at and changed by tests."""

    daemon_threads = True

    def __init__(self, generation: str = "2.17") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        assert generation in GENERATIONS
        self.generation = generation
        self.tag = TAGS[generation]
        self.multi_user = False
        self.needs_token = ""
        self.experiments: list[Any] = []
        self.runs: list[Any] = []
        self.recurring: list[Any] = []
        self.pipelines: list[Any] = []
        self.versions: list[Any] = []
        self.workflows: dict[str, Any] = {}
        self.requests: list[tuple[str, str]] = []
        self.queries: list[dict[str, list[str]]] = []
        self.tokens: list[str | None] = []
        self.faults: list[int | str] = []
        self.states: dict[str, list[str]] = {}
        self.logs: dict[str, str] = {}
        self.growing: dict[str, list[str]] = {}
        self.archive: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Dropped connections are on purpose."""

    def add_run(self, state: str, run_id: str = "run-x", pipeline: str = "training", pod_name_format: str = "v2", **steps: str) -> str:
        """A run whose steps went so; its pods have logs. An underscore in a keyword stands for a dash."""
        told = {step.replace("_", "-"): how for step, how in steps.items()}
        workflow = argo_workflow.Workflow(f"nann-{pipeline}-x7k2p", told, pod_name_format=pod_name_format)
        self.workflows[run_id] = workflow
        seen: dict[tuple[str, str], int] = {}
        for pod in workflow.pods.values():
            number = seen[pod.task, pod.kind] = seen.get((pod.task, pod.kind), 0) + 1
            self.logs[pod.name] = f"{pod.task} {pod.kind} {number}\n"
        spec = {"pipelineInfo": {"name": f"nann-{pipeline}"}}
        run = api.V2beta1Run(run_id=run_id, display_name=run_id.removeprefix("run-"), state=state, created_at=NOW, pipeline_spec=spec)
        self.runs.append(run)
        return run_id

    def pod(self, run_id: str, task: str, kind: str = "executor") -> Any:
        """The last pod of a task."""
        return [pod for pod in self.workflows[run_id].pods.values() if (pod.task, pod.kind) == (task, kind)][-1]

    def fire(self, recurring_run_id: str, state: str = "RUNNING") -> Any:
        """A run of a schedule, as its controller starts it: of the newest version where the schedule names none."""
        [schedule] = [found for found in self.recurring if found.recurring_run_id == recurring_run_id]
        run = api.V2beta1Run(run_id=f"run-{len(self.runs)}", display_name=f"{schedule.display_name} {len(self.runs)}", state=state)
        run.created_at, run.recurring_run_id = NOW + timedelta(seconds=len(self.runs)), recurring_run_id
        run.pipeline_spec = schedule.pipeline_spec
        if schedule.pipeline_version_reference:  # and then that is all the answer has: a run has one source
            [*_, newest] = [found for found in self.versions if found.pipeline_id == schedule.pipeline_version_reference.pipeline_id]
            run.pipeline_version_reference = api.V2beta1PipelineVersionReference(newest.pipeline_id, newest.pipeline_version_id)
        self.runs.append(run)
        return run


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
        query = parse_qs(url.query)
        self.server.requests.append((method, url.path))
        self.server.queries.append(query)
        self.server.tokens.append(self.headers.get("authorization"))
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "page":
            self._write(200, "<html>Kubeflow</html>")
            return
        if fault == "sleep":
            time.sleep(1.0)
        if isinstance(fault, int):
            self._write(fault, {"code": 14, "message": "the database is asleep"})
            return
        if self.server.needs_token and self.headers.get("authorization") != f"Bearer {self.server.needs_token}":
            self._write(401, {"code": 16, "message": "Request header error: there is no user identity header."})
            return
        try:
            self._route(method, url.path, query, body)
        except Refused as error:
            self._write(400, {"code": 3, "message": str(error)})
        except NotFound as error:
            self._write(404, {"code": 5, "message": f"{error.args[0]} not found"})

    def _route(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> None:
        """Logs and the v1beta1 API where the generation has them, then the API proper."""
        generation = self.server.generation
        if found := re.fullmatch(r"/apis/(\w+)/runs/([^/]+)/nodes/([^/]+)/log", path):
            prefixes = ("v2", "v2beta1") if generation == "v2" else ("v1alpha1",)
            if method != "GET" or found.group(1) not in prefixes:
                raise NotFound(path)
            self._log(found.group(2), unquote(found.group(3)))
            return
        if generation != "v2" and method == "GET" and (found := re.fullmatch(r"/apis/v1beta1/runs/([^/]+)", path)):
            run = self._find(self.server.runs, "run_id", found.group(1))
            workflow = self.server.workflows.get(run.run_id)
            manifest = json.dumps(workflow.manifest()) if workflow else ""
            self._write(200, {"run": {"id": run.run_id}, "pipeline_runtime": {"workflow_manifest": manifest}})
            return
        prefix = "/apis/v2/" if generation == "v2" and path.startswith("/apis/v2/") else "/apis/v2beta1/"
        if not path.startswith(prefix):
            raise NotFound(path)
        self._write(200, self._api(method, path.removeprefix(prefix), query, body))

    def _api(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Any:
        server = self.server
        collection = path.partition("/")[0]
        unknown = set(query) - QUERIES.get(collection, set())
        if unknown:  # the real server ignores them, which hides mistakes
            raise Refused(f"unknown query {sorted(unknown)}")
        if (method, path) == ("GET", "healthz"):
            return {"commit_sha": "abc", "tag_name": server.tag, "multi_user": server.multi_user, "pipeline_store": "database"}
        if collection == "experiments":
            return self._experiments(method, path, query, body)
        if collection == "runs":
            return self._runs(method, path, query, body)
        if collection == "recurringruns":
            return self._recurring(method, path, query, body)
        if collection == "pipelines":
            return self._pipelines(method, path, query, body)
        raise NotFound(path)

    def _experiments(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Any:
        if (method, path) == ("GET", "experiments"):
            if self.server.multi_user and not query.get("namespace"):
                raise Refused("An experiment cannot have an empty namespace in multi-user mode")
            return self._page(query, self.server.experiments, api.V2beta1ListExperimentsResponse, "experiments")
        if (method, path) == ("POST", "experiments"):
            return self._add(self.server.experiments, body, api.V2beta1Experiment, "experiment_id")
        raise NotFound(path)

    def _runs(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Any:
        server = self.server
        if (method, path) == ("GET", "runs"):
            newest_first = query.get("sort_by") == ["created_at desc"]
            runs = server.runs[::-1] if newest_first else server.runs
            if "experiment_id" in query:
                runs = [run for run in runs if run.experiment_id == query["experiment_id"][0]]
            return self._page(query, runs, api.V2beta1ListRunsResponse, "runs")
        if (method, path) == ("POST", "runs"):
            run = self._add(server.runs, body, api.V2beta1Run, "run_id")
            run.state = "PENDING"
            return run
        found = re.fullmatch(r"runs/([^/:]+)", path)
        if method != "GET" or not found:
            raise NotFound(path)
        run = self._find(server.runs, "run_id", found.group(1))
        states = server.states.get(run.run_id, [])
        if states:
            run.state = states.pop(0)
        return self._run(run, full=query.get("view") == ["FULL"])

    def _run(self, run: Any, *, full: bool) -> Any:
        answer = api.ApiClient().sanitize_for_serialization(run)
        answer.setdefault("finished_at", "1970-01-01T00:00:00Z")
        workflow = self.server.workflows.get(run.run_id)
        if workflow is None:
            return answer
        if self.server.generation == "2.17":
            answer["run_details"] = {"task_details": workflow.task_details()}
        else:
            answer["task_count"] = len(workflow.tasks())
            if full:
                answer["tasks"] = workflow.tasks()
        return answer

    def _recurring(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Any:
        server = self.server
        if (method, path) == ("GET", "recurringruns"):
            return self._page(query, server.recurring, api.V2beta1ListRecurringRunsResponse, "recurring_runs")
        if (method, path) == ("POST", "recurringruns"):
            made = self._add(server.recurring, body, api.V2beta1RecurringRun, "recurring_run_id")
            sources = [made.pipeline_spec, made.pipeline_version_id, made.pipeline_version_reference]
            if sum(source is not None for source in sources) != 1:
                raise Refused("a recurring run has one pipeline source")
            made.status = "ENABLED" if made.mode == "ENABLE" else "DISABLED"
            return made
        found = re.fullmatch(r"recurringruns/([^/:]+)(?::(enable|disable))?", path)
        if not found:
            raise NotFound(path)
        schedule = self._find(server.recurring, "recurring_run_id", found.group(1))
        if method == "POST" and found.group(2):
            schedule.status = found.group(2).upper() + "D"
            return {}
        if method == "DELETE" and not found.group(2):
            server.recurring.remove(schedule)
            if query.get("propagation_policy") != ["ORPHAN"]:  # Kubernetes deletes what the schedule owns: its workflows, with their pods
                for run in server.runs:
                    if run.recurring_run_id == schedule.recurring_run_id and run.state not in FINISHED:
                        run.state = "FAILED"
                        server.workflows.pop(run.run_id, None)
            return {}
        raise NotFound(path)

    def _pipelines(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Any:
        server = self.server
        if (method, path) == ("GET", "pipelines"):
            return self._page(query, server.pipelines, api.V2beta1ListPipelinesResponse, "pipelines")
        if method == "GET" and (found := re.fullmatch(r"pipelines/([^/]+)/versions", path)):
            self._find(server.pipelines, "pipeline_id", found.group(1))
            versions = [version for version in server.versions if version.pipeline_id == found.group(1)]
            versions = versions[::-1] if query.get("sort_by") == ["created_at desc"] else versions
            return self._page(query, versions, api.V2beta1ListPipelineVersionsResponse, "pipeline_versions")
        if (method, path) == ("POST", "pipelines"):
            made = self._add(server.pipelines, body, api.V2beta1Pipeline, "pipeline_id")
            if any(pipeline.name == made.name for pipeline in server.pipelines[:-1]):
                raise Refused(f"a pipeline {made.name} exists")
            return made
        if (method, path) == ("POST", "pipelines/upload_version"):
            self._find(server.pipelines, "pipeline_id", query["pipelineid"][0])
            return self._version(query["pipelineid"][0], query["name"][0], body)
        raise NotFound(path)

    def _version(self, pipeline_id: str, name: str, body: bytes) -> Any:
        parsed = BytesParser().parsebytes(b"content-type: " + self.headers["content-type"].encode() + b"\r\n\r\n" + body)
        [part] = [part for part in parsed.get_payload() if part.get_param("name", header="content-disposition") == "uploadfile"]
        if not part.get_filename().endswith(".yaml"):
            raise Refused("the file must end in .yaml")
        documents = list(yaml.safe_load_all(part.get_payload(decode=True)))
        if "pipelineInfo" not in documents[0]:
            raise Refused("the file is no compiled pipeline")
        if any((version.pipeline_id, version.name) == (pipeline_id, name) for version in self.server.versions):
            raise Refused(f"a version {name} exists")
        spec = documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
        made = api.V2beta1PipelineVersion(pipeline_id, f"version-{len(self.server.versions)}", name, name, pipeline_spec=spec)
        made.created_at = NOW + timedelta(seconds=len(self.server.versions))
        self.server.versions.append(made)
        return made

    def _log(self, run_id: str, node: str) -> None:
        """What a pod wrote, by the name of the pod; from the archive in 2.17 by the id of the node alone."""
        server = self.server
        if node in server.growing:
            parts = server.growing[node]
            server.logs[node] = server.logs.get(node, "") + (parts.pop(0) if parts else "")
        text = server.logs.get(node)
        if text is None:
            text = server.archive.get(node)
            if text is None and server.generation != "2.17" and run_id in server.workflows:
                ids = {pod.name: pod.node_id for pod in server.workflows[run_id].pods.values()}
                text = server.archive.get(ids.get(node, ""))
        if text is not None:
            self._write(200, text)
            return
        reason = f"Failed to read logs for run {run_id}"
        self._write(
            200 if server.generation == "2.17" else 500, {"error_message": reason, "error_details": f'{reason}: pods "{node}" not found'}
        )

    def _add(self, to: list[Any], body: bytes, model: Any, key: str) -> Any:
        content = json.loads(body)
        check(content, model.__name__, model.__name__)
        made = api.ApiClient()._ApiClient__deserialize(content, model)
        setattr(made, key, f"{key.removesuffix('_id').replace('_', '-')}-{len(self.server.requests)}")
        made.created_at = NOW
        to.append(made)
        return made

    @staticmethod
    def _find(among: list[Any], key: str, value: str) -> Any:
        for item in among:
            if getattr(item, key) == value:
                return item
        raise NotFound(value)

    @staticmethod
    def _page(query: dict[str, list[str]], items: list[Any], model: Any, field: str) -> Any:
        start = int(query.get("page_token", ["0"])[0] or 0)
        more = start + PAGE < len(items)
        return model(**{field: items[start : start + PAGE], "next_page_token": str(start + PAGE) if more else None})

    def _write(self, status: int, answer: Any) -> None:
        text = answer if isinstance(answer, str) else json.dumps(api.ApiClient().sanitize_for_serialization(answer))
        self.send_response(status)
        self.send_header("content-type", "text/plain" if isinstance(answer, str) else "application/json")
        self.end_headers()
        self.wfile.write(text.encode())
