"""Tasks in containers on this machine: kfp's DockerRunner over the socket of docker or podman, with failures told.

kfp 2.17.0 lets the engine remove a container as soon as it ends and takes "not found" for success, so that over podman's socket every
failing step counts as done; it also gives up on a step that is silent for a minute. `run_container` stands in for it.
"""

import codecs
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nann.errors import NannError

DOCKER_SOCKET = Path("/var/run/docker.sock")
SOCKET_SECONDS = 15.0
LOG_SECONDS = 3.0


class EngineError(NannError):
    """There is no container engine, or it has not got the image."""


@contextmanager
def engine_address() -> Iterator[str]:
    """The address of a container engine's socket: DOCKER_HOST, docker's own, or a podman service for as long as this lasts.

    Raises:
        EngineError: there is none of them.
    """
    if os.environ.get("DOCKER_HOST"):
        yield os.environ["DOCKER_HOST"]
    elif DOCKER_SOCKET.is_socket() and os.access(DOCKER_SOCKET, os.W_OK):
        yield f"unix://{DOCKER_SOCKET}"
    elif (podman := shutil.which("podman")) is not None:
        with tempfile.TemporaryDirectory(prefix="nann-podman-") as directory:
            socket = Path(directory) / "podman.sock"
            with _service([podman, "system", "service", "--time=0", f"unix://{socket}"], socket):
                yield f"unix://{socket}"
    else:
        raise EngineError(
            "--runner docker needs docker or podman, but neither is there; install one, set DOCKER_HOST, or use --runner process"
        )


@contextmanager
def _service(command: Sequence[str], socket: Path) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + SOCKET_SECONDS
        while not socket.is_socket():
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise EngineError(f"`{' '.join(command)}` gave no socket: {' '.join((process.communicate()[1] or 'no message').split())}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def container_runner(mounts: Mapping[Path, str], *, image: str = "") -> Iterator[Any]:
    """kfp's DockerRunner, ready for `local.init`, for as long as this lasts.

    Args:
        mounts: host path -> "rw" or "ro"; seen at the same path in every container.
        image: run all tasks in this image; "": in the one the components name.

    Raises:
        EngineError: there is no engine, or not the image.
    """
    import docker
    from kfp import local
    from kfp.local import docker_task_handler

    with engine_address() as address, _variable("DOCKER_HOST", address):
        try:
            client = docker.from_env()
            user = "0:0" if _is_rootless(client) else f"{os.getuid()}:{os.getgid()}"
            require_image(client, image or _components_image())
            client.close()
        except docker.errors.DockerException as error:
            raise EngineError(f"the container engine at {address} does not answer: {error}") from error
        volumes = {str(path): {"bind": str(path), "mode": mode} for path, mode in mounts.items()}
        original: Callable[..., int] = docker_task_handler.run_docker_container

        def run(client: Any, **arguments: Any) -> int:
            arguments["image"] = image or arguments["image"]
            arguments["volumes"] = {**arguments["volumes"], **volumes}
            return run_container(client, **arguments)

        docker_task_handler.run_docker_container = run
        try:
            yield local.DockerRunner(user=user, network_mode="none")
        finally:
            docker_task_handler.run_docker_container = original


def run_container(client: Any, *, image: str, command: Sequence[str], **arguments: Any) -> int:
    """Runs a command in a container, prints what it writes, and returns its exit status.

    The container is removed only after its status was read, and also when this process is interrupted.

    Raises:
        EngineError: the container cannot be made or started.
    """
    import docker

    client.api.timeout = None  # a step may be silent for hours
    try:
        container = client.containers.create(image=image, command=list(command), **arguments)
    except docker.errors.APIError as error:
        raise EngineError(f"the container engine refuses to make a container of {image}: {error.explanation}") from error
    try:
        try:
            container.start()
        except docker.errors.APIError as error:
            raise EngineError(f"the container engine cannot start a container of {image}: {error.explanation}") from error
        log = _Log(container)
        log.start()
        status = int(container.wait()["StatusCode"])
        log.finish()
        return status
    finally:
        with suppress(docker.errors.NotFound):
            container.remove(force=True)


class _Log(threading.Thread):
    """Prints what a container writes, as it comes.

    The status is waited for elsewhere: podman 4.3 never ends the stream of a container that was gone before the stream began.
    """

    def __init__(self, container: Any) -> None:
        super().__init__(daemon=True)
        self._container = container
        self._shown_bytes = 0
        self._finished = False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def run(self) -> None:
        """Follows the log to its end."""
        for chunk in self._container.logs(stream=True, follow=True):
            if self._finished:
                return
            self._show(chunk)

    def finish(self) -> None:
        """Shows what the stream has not brought, once the container has ended."""
        self.join(LOG_SECONDS)
        if self.is_alive():
            self._finished = True
            self._show(self._container.logs()[self._shown_bytes :])

    def _show(self, chunk: bytes) -> None:
        self._shown_bytes += len(chunk)
        print(self._decoder.decode(chunk), end="", flush=True)


def require_image(client: Any, image: str) -> None:
    """Refuses to start when an image is neither here nor can be pulled.

    Raises:
        EngineError: names the image and what to do.
    """
    import docker

    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        if "@" not in image and "/" not in image:
            raise EngineError(f"the image {image} is not here; build it with `make images`, or name another with --image") from None
        try:
            client.images.pull(image)
        except docker.errors.APIError as error:
            raise EngineError(f"the image {image} is not here and cannot be pulled: {error.explanation}; run `make images`") from error


def _components_image() -> str:
    from components.image import image

    return image()


def _is_rootless(client: Any) -> bool:
    return any("rootless" in option for option in client.info().get("SecurityOptions") or ())


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
