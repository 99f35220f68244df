"""The HTTP application: TensorFlow Serving's REST paths, health, readiness and metrics. Errors are ``{"error": "..."}``."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import tensorflow as tf
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nann.serve_config import ServeConfig
from nann.serving.answers import answer, metadata, status
from nann.serving.batching import Batcher
from nann.serving.metrics import ServerMetrics
from nann.serving.opened import OpenedModel
from nann.serving.requests import Limits, RequestError, read_request
from nann.serving.switching import VersionInService

JSON = "application/json"
logger = logging.getLogger(__name__)
Handler = Callable[[Request], Awaitable[Response]]


class ServingApp:
    """The handlers of one server.

    Args:
        versions: the model that is served.
        config: the options.
        metrics: counts.
        watched: whether versions change.
    """

    def __init__(self, versions: VersionInService, config: ServeConfig, metrics: ServerMetrics, *, watched: bool) -> None:
        self._versions, self._config, self._metrics, self._watched = versions, config, metrics, watched
        self._limits = Limits(users=config.max_users, history=config.max_history)
        self._batcher: Batcher
        self._stopping = False

    def asgi(self) -> ASGIApp:
        """The application."""
        root = f"/v1/models/{self._config.model_name}"
        routes = []
        for prefix in (root, root + "/versions/{version:int}"):
            routes += [
                Route(prefix + ":predict", self._predict, methods=["POST"], name="predict"),
                Route(prefix + "/metadata", self._metadata, name="metadata"),
                Route(prefix, self._status, name="status"),
            ]
        routes += [
            Route("/healthz", self._healthz, name="healthz"),
            Route("/readyz", self._readyz, name="readyz"),
            Route("/metrics", self._prometheus, name="metrics"),
        ]
        handlers: dict[Any, Any] = {RequestError: _told, HTTPException: _told, Exception: _bug}
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        return _Counted(app, self._metrics, {route.path: route.name for route in routes})

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        config = self._config
        self._batcher = Batcher(
            max_batch=config.max_batch,
            wait_seconds=config.batch_wait_ms / 1000,
            threads=config.threads,
            max_waiting=config.max_waiting,
            metrics=self._metrics,
        )
        if self._watched:
            self._versions.watch(config.poll_seconds)
        yield
        self._stopping = True
        self._versions.close()
        self._batcher.close()

    async def _predict(self, http: Request) -> Response:
        model = self._model(http)
        body = await self._body(http)
        request = read_request(body, model, self._limits)
        try:
            outputs = await self._batcher.run(model, request)
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, tf.errors.ResourceExhaustedError) as error:
            raise RequestError(400, f"the graph refuses the request: {error.message.splitlines()[0][:300]}") from error
        wanted = {name: value for name, value in outputs.items() if name in request.outputs}
        return Response(answer(wanted, by_row=request.by_row), media_type=JSON)

    async def _status(self, http: Request) -> Response:
        return _json(status(self._model(http).place.version, self._versions.failed))

    async def _metadata(self, http: Request) -> Response:
        return _json(metadata(self._model(http), self._config.model_name))

    async def _healthz(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        if self._stopping:
            raise RequestError(503, "the server is stopping")
        return _json({"status": "ready", "version": self._versions.model.place.version})

    async def _prometheus(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _model(self, http: Request) -> OpenedModel:
        """The model that is served, which a path with a version must name."""
        model = self._versions.model
        wanted = http.path_params.get("version", model.place.version)
        if wanted != model.place.version:
            raise RequestError(404, f"version {str(wanted)[:20]} is not served, version {model.place.version} is; leave the version out")
        return model

    async def _body(self, http: Request) -> bytes:
        """The body, as far as it may be long and slow."""
        most = self._config.max_body_bytes
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._config.body_seconds):
                async for chunk in http.stream():
                    size += len(chunk)
                    if size > most:
                        raise RequestError(413, f"a body may have {most} bytes; send fewer users at a time")
                    chunks.append(chunk)
        except TimeoutError as error:
            raise RequestError(408, f"the body did not arrive within {self._config.body_seconds:g} s") from error
        except ClientDisconnect as error:
            raise RequestError(400, "the body ended before its length was reached") from error
        return b"".join(chunks)


class _Counted:
    """Counts requests, their time and their statuses."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics, names: dict[str, str]) -> None:
        self._app, self._metrics, self._names = app, metrics, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        code, begin = 500, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        self._metrics.in_progress.inc()
        try:
            await self._app(scope, receive, noting)
        finally:
            self._metrics.in_progress.dec()
            found = scope.get("route")
            route = found.name if found is not None and found.name in self._names.values() else "other"
            self._metrics.requests.labels(route, str(code)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - begin)


def _json(content: Any, code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(content) + "\n", status_code=code, media_type=JSON, headers=headers)


async def _told(http: Request, error: Exception) -> Response:
    """A request that is refused; where its body was not read to the end, the connection ends, too."""
    if isinstance(error, HTTPException):
        message = f"{error.detail}: {http.method} {http.url.path[:200]}"
        return _json({"error": message}, error.status_code, dict(error.headers or {}))
    code = getattr(error, "status", 500)
    return _json({"error": str(error)}, code, {"connection": "close"} if code in (408, 413) else None)


async def _bug(http: Request, error: Exception) -> Response:
    return _json({"error": f"{type(error).__name__} in the server; its log has more"}, 500)
