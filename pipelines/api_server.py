"""Requests to a Kubeflow Pipelines API server, with time-outs, retries, and errors in one line.

Reads are tried again when the server is busy or gone for a moment. Writes are not: a second run or schedule would be worse than an error.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nann.errors import NannError

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


class ApiServer:
    """Calls to one API server; the client is made with the first of them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._made: Any = None

    @property
    def _client(self) -> Any:
        if self._made is None:
            import kfp_server_api

            host = _checked_host(self._server.host) or _host_in_cluster(self._server.namespace)
            configuration = kfp_server_api.Configuration(host=host)
            token = _checked_token(self._server.token) or ("" if self._server.host else _service_account_token())
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

    def call(self, service: str, method: str, *arguments: Any, again: bool = True, **named: Any) -> Any:
        """Calls a method of the generated API of kfp-server-api."""
        prefix = "" if service == "pipeline_upload" else f"{service}_service_"

        def once() -> Any:
            answer = getattr(self._service(service), f"{prefix}{method}")(*arguments, **named, _request_timeout=self._limits)
            self._json_object(self._client.last_response.data, method)  # of anything else the generated API makes an empty answer
            return answer

        return self._tried(once, again=again)

    def read(self, path: str, query: Mapping[str, str] | None = None, *, busy: Collection[int] = BUSY) -> bytes:
        """The body of a GET, for answers that the generated API has no model for.

        Args:
            path: below the host.
            query: parameters.
            busy: statuses after which it is tried again.

        Raises:
            ClusterError: the server refuses (its `status` says how), or does not answer.
        """
        answer = self._tried(
            lambda: (
                self._client.call_api(
                    path,
                    "GET",
                    query_params=list((query or {}).items()),
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
        return self._json_object(self.read(path, query), path)

    def _json_object(self, body: str | bytes, asked: str) -> dict[str, Any]:
        """An answer parsed; a page that a proxy shows to those who are not logged in comes with status 200 too."""
        answer, kind = None, "JSON object"
        try:
            answer = json.loads(body)
        except ValueError:
            kind = "JSON"
        if not isinstance(answer, dict):
            told = f"{self.where} answers {asked} with {body[:80]!r}, which is no {kind}; is --host the API server?"
            raise ClusterError(f"{told} A page to log in means that it wants a --token")
        return answer

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

    def pages(self, service: str, method: str, field: str, *arguments: Any, **named: Any) -> Iterator[Any]:
        """The entries of a list, asked for page by page as they are needed."""
        token = ""
        while True:
            page = self.call(service, method, *arguments, page_size=PAGE, page_token=token, **named)
            yield from getattr(page, field) or ()
            token = page.next_page_token or ""
            if not token:
                return


def _checked_host(host: str) -> str:
    """The URL without a slash at its end; a password in it would be sent nowhere, but shown in every message."""
    try:
        parts = urlsplit(host)
        valid = not host or (parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc)
    except ValueError:
        valid = False
    if not valid:
        raise ClusterError("--host (or NANN_KFP_HOST) must be a URL without user name and password, as https://kfp.example")
    return host.rstrip("/")


def _checked_token(token: str) -> str:
    """The token without white space around it, as a file of a secret may have it."""
    token = token.strip()
    if not re.fullmatch("[!-~]*", token):
        raise ClusterError("--token (or NANN_KFP_TOKEN) holds white space or other characters that no token has; it is not shown here")
    return token


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
