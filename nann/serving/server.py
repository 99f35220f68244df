"""The server: a socket, the application, and an end that lets finish what is running."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from nann.errors import NannError
from nann.serve_config import ServeConfig
from nann.serving.app import ServingApp
from nann.serving.metrics import ServerMetrics
from nann.serving.opened import OpenedModel
from nann.serving.places import ModelPlace, find_model, is_service
from nann.serving.switching import VersionInService

logger = logging.getLogger(__name__)


def serve(path: Path, config: ServeConfig, announce: Callable[[str], None]) -> None:
    """Serves the model of a directory until SIGTERM or SIGINT; then no connection is accepted, and what runs is finished.

    Args:
        path: see `nann.serving.places.find_model`; of a service, the version in service is followed.
        config: the options.
        announce: called with one line when requests are accepted.

    Raises:
        ArtifactError: there is no model, or it does not load.
        NannError: the address cannot be listened on.
    """
    form = None if config.graph == "best" else config.graph

    def load(place: ModelPlace) -> OpenedModel:
        return OpenedModel(place, form, allow_own_models=config.allow_own_models)

    with listening_socket(config.host, config.port) as listening:
        metrics = ServerMetrics()
        versions = VersionInService(lambda: find_model(path), load, metrics, users=min(config.max_batch, config.max_users))
        app = ServingApp(versions, config, metrics, watched=is_service(path))
        server = _Server(
            uvicorn.Config(
                app.asgi(),
                http="h11",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=config.stop_seconds,
            )
        )
        place, form_served = versions.model.place, versions.model.form
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        announce(f"version {place.version} of {path} (form {form_served}) is served at http://{shown}:{port}/v1/models/{config.model_name}")
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends with the function that runs it, where uvicorn's would raise the signal once more."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the server, within."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        NannError: it cannot.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio sends at once (TCP_NODELAY) only from sockets that name their protocol; else a body waits some 40 ms for an ACK
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(2048)
        except OSError:
            found.close()
            raise
    except OSError as error:
        raise NannError(f"{host}:{port} cannot be listened on ({error.strerror or error}); give another --host or --port") from error
    if not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        logger.warning("%s is open to others, without authentication or encryption; put a proxy with both in front", host)
    return found
