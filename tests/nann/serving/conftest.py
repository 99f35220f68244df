"""A `nann serve` in a process of its own, and a service for it."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nann.artifacts import open_artifact
from nann.service.shelf import Shelf


@dataclass
class Server:
    """A `nann serve` in a process of its own."""

    process: subprocess.Popen
    port: int
    log: Path

    def send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of the answer to one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON of an answer with status 200."""
        status, body = self.send("GET", path)
        assert status == 200, body
        return json.loads(body)

    def predict(self, **request: Any) -> Any:
        """The JSON of the answer to a request."""
        status, body = self.send("POST", "/v1/models/nann:predict", json.dumps(request).encode())
        assert status == 200, body
        return json.loads(body)

    def metric(self, name: str) -> float:
        """The value of a line of /metrics."""
        lines = self.send("GET", "/metrics")[1].decode().splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(name + " ")))

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Waits until something is so, as long as the server lives."""
        deadline = time.monotonic() + 120
        while not is_so():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


def start(directory: Path, *arguments: Any) -> Server:
    log = directory / "serve.log"
    command = [str(Path(sys.executable).with_name("nann")), "serve", "--port", "0", *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=log.open("w"), stderr=subprocess.STDOUT, env=environment)
    server = Server(process, 0, log)
    server.wait_for(lambda: " is served at http://" in log.read_text())
    server.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/v1/models/nann", log.read_text()).group(1))
    return server


@pytest.fixture(scope="session")
def service(trained_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service with the trained run's model as version 1."""
    shelf = Shelf(tmp_path_factory.mktemp("served") / "service").require(create=True)
    shelf.publish({"converted_model": open_artifact(trained_run.root / "converted_model", step="rewrite")}, expected=None, keep=5)
    return Path(shelf.store.root)


@pytest.fixture(scope="module")  # a test ends it
def server(service: Path) -> Iterator[Server]:
    """Serves that service, with narrow limits."""
    pytest.importorskip("uvicorn", reason="nann serve is an extra: pip install 'nann-pipeline[serve]'")
    limits = ("--max-users", 8, "--max-history", 40, "--max-body-bytes", 20_000, "--body-seconds", 2, "--max-batch", 16)
    found = start(service.parent, "--service", service, "--poll-seconds", 0.2, "--batch-wait-ms", 30, *limits)
    yield found
    if found.process.poll() is None:
        found.process.kill()
    found.process.wait()
