"""A stand-in for the v2beta1 API of Kubeflow Pipelines, for contract tests.

Every request body is read with kfp-server-api's own model and refused when it has a field that the model does not know; every answer is
built from those models. Faults are queued: a number is the status of the next answer, "drop" closes the connection, "sleep" is late.
"""

import importlib.util
import json
import re
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import kfp_server_api as api

_spec = importlib.util.spec_from_file_location("api_models", Path(__file__).parents[1] / "api_models.py")
api_models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(api_models)
Refused = api_models.Refused
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MODELS = vars(api)
PAGE = 2


def check(value: Any, kind: str, where: str) -> None:
    """Refuses values that are not of a kfp-server-api type, unknown fields included."""
    api_models.check(value, kind, where, MODELS)


class Stub(ThreadingHTTPServer):
    """The server; its state may be looked at and changed by tests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.experiments: list[Any] = []
        self.runs: list[Any] = []
        self.recurring: list[Any] = []
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []
        self.faults: list[int | str] = []
        self.states: dict[str, list[str]] = {}
        self.logs: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Dropped connections are on purpose."""


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
        self.server.tokens.append(self.headers.get("authorization"))
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "sleep":
            time.sleep(1.0)
        if isinstance(fault, int):
            self._write(fault, {"code": 14, "message": "the database is asleep"})
            return
        try:
            path = url.path.removeprefix("/apis/v2beta1")
            answer = self._route(method, path, parse_qs(url.query), json.loads(body) if body else None)
            self._write(200, answer)
        except Refused as error:
            self._write(400, {"code": 3, "message": str(error)})
        except KeyError as error:
            self._write(404, {"code": 5, "message": f"{error.args[0]} not found"})

    def _route(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        server = self.server
        if (method, path) == ("GET", "/experiments"):
            return self._page(query, server.experiments, api.V2beta1ListExperimentsResponse, "experiments")
        if (method, path) == ("POST", "/experiments"):
            return self._add(server.experiments, body, api.V2beta1Experiment, "experiment_id")
        if (method, path) == ("GET", "/runs"):
            return self._page(query, server.runs, api.V2beta1ListRunsResponse, "runs")
        if (method, path) == ("POST", "/runs"):
            run = self._add(server.runs, body, api.V2beta1Run, "run_id")
            server.runs[-1].state = "PENDING"
            return run
        if found := re.fullmatch(r"/runs/([^/]+)/nodes/([^/]+)/log", path):
            return server.logs[found.group(2)]
        if found := re.fullmatch(r"/runs/([^/]+)", path):
            run = self._find(server.runs, "run_id", found.group(1))
            states = server.states.get(found.group(1), [])
            if states:
                run.state = states.pop(0)
            return run
        if (method, path) == ("GET", "/recurringruns"):
            return self._page(query, server.recurring, api.V2beta1ListRecurringRunsResponse, "recurring_runs")
        if (method, path) == ("POST", "/recurringruns"):
            return self._add(server.recurring, body, api.V2beta1RecurringRun, "recurring_run_id")
        if method == "DELETE" and (found := re.fullmatch(r"/recurringruns/([^/]+)", path)):
            server.recurring.remove(self._find(server.recurring, "recurring_run_id", found.group(1)))
            return {}
        raise KeyError(path)

    def _add(self, to: list[Any], body: Any, model: Any, key: str) -> Any:
        check(body, model.__name__, model.__name__)
        made = api.ApiClient()._ApiClient__deserialize(body, model)
        setattr(made, key, f"{key.removesuffix('_id')}-{len(self.server.requests)}")
        made.created_at = NOW
        to.append(made)
        return made

    @staticmethod
    def _find(among: list[Any], key: str, value: str) -> Any:
        for item in among:
            if getattr(item, key) == value:
                return item
        raise KeyError(value)

    @staticmethod
    def _page(query: dict[str, list[str]], items: list[Any], model: Any, field: str) -> Any:
        unknown = set(query) - {"page_token", "page_size", "sort_by", "filter", "namespace", "experiment_id"}
        if unknown:
            raise Refused(f"unknown query {sorted(unknown)}")
        start = int(query.get("page_token", ["0"])[0] or 0)
        more = start + PAGE < len(items)
        return model(**{field: items[start : start + PAGE], "next_page_token": str(start + PAGE) if more else None})

    def _write(self, status: int, answer: Any) -> None:
        text = answer if isinstance(answer, str) else json.dumps(api.ApiClient().sanitize_for_serialization(answer))
        self.send_response(status)
        self.send_header("content-type", "text/plain" if isinstance(answer, str) else "application/json")
        self.end_headers()
        self.wfile.write(text.encode())
