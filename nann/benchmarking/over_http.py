"""A model asked over HTTP, as TensorFlow Serving's REST interface has it: `nann serve`, or that server."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from nann.errors import NannError

Inputs = Mapping[str, NDArray[np.int64]]
PATH = "/v1/models/nann"
SECONDS = 60.0  # for one answer


class HttpRequestError(Exception):
    """A request that was not answered with 200."""


class HttpForm:
    """A server, asked with the requests that exported forms in this process are asked with.

    A request is written as ``instances``, one per user without the padding of its history, and the answer is read into Python objects: both
    belong to its time. Each thread keeps a connection.

    Args:
        url: of the server, with or without the model's path, ``/v1/models/nann`` by default.
        inputs: of request n, [S, *] int64 by key of ``serving_default``.
        of_history: keys whose values stand beside the history's items.

    Raises:
        NannError: the server does not answer the first request.
    """

    def __init__(self, url: str, inputs: Callable[[int], Inputs], *, of_history: frozenset[str]) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise NannError(f"--url must be http://HOST:PORT, got {url}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._path = (parts.path.rstrip("/") or PATH) + ":predict"
        self._inputs, self._of_history = inputs, of_history
        self._local = threading.local()
        begin = time.perf_counter()
        try:
            self.request(0)
        except HttpRequestError as error:
            raise NannError(f"{url} cannot be asked ({error}); start `nann serve` there, or give another --url") from error
        self._first_request_ms = 1000 * (time.perf_counter() - begin)

    def request(self, number: int) -> list[dict[str, Any]]:
        """Sends request n; one object per user.

        Raises:
            HttpRequestError: it is not answered, or not with 200.
        """
        body = json.dumps({"instances": self._instances(self._inputs(number))})
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(self._host, self._port, timeout=SECONDS)
        try:
            connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._local.connection = None
            raise HttpRequestError(f"{type(error).__name__}: {error}") from error
        if answer.status != 200:
            raise HttpRequestError(f"status {answer.status}: {content[:200].decode(errors='replace').strip()}")
        found: list[dict[str, Any]] = json.loads(content)["predictions"]
        return found

    def figures(self) -> dict[str, float]:
        """What was measured outside the load."""
        return {"first_request_ms": self._first_request_ms}

    def _instances(self, inputs: Inputs) -> list[dict[str, list[int]]]:
        items = inputs["item_ids"]
        return [
            {name: values[user][items[user] > 0 if name in self._of_history else slice(None)].tolist() for name, values in inputs.items()}
            for user in range(len(items))
        ]
