"""Containers of a real engine, where there is one: how a task ended is read, not guessed. The image only needs a shell."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from kfp import local
from kfp.local import docker_task_handler, status

from pipelines.containers import EngineError, container_runner, engine_address, require_image, run_container

docker = pytest.importorskip("docker")
IMAGE = os.environ.get("NANN_TEST_IMAGE", "docker.io/library/python:3.11-slim")


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    try:
        with engine_address() as address:
            client = docker.DockerClient(base_url=address)
            try:
                client.images.get(IMAGE)
                run_container(client, image=IMAGE, command=["true"])
            except (EngineError, docker.errors.DockerException) as error:
                pytest.skip(f"the container engine cannot run {IMAGE} (NANN_TEST_IMAGE names another image): {error}")
            yield client
            client.close()
    except EngineError as error:
        pytest.skip(f"no container engine: {error}")


@pytest.mark.parametrize(("script", "expected"), [("exit 0", 0), ("exit 3", 3), ("sh -c 'kill -9 $$'", 137)])
def test_the_exit_status_is_read(client: object, script: str, expected: int) -> None:
    written = io.StringIO()
    with redirect_stdout(written):
        assert run_container(client, image=IMAGE, command=["sh", "-c", f"echo before; {script}"]) == expected
    assert written.getvalue().startswith("before\n")


def test_nothing_is_left_behind(client: object) -> None:
    run_container(client, image=IMAGE, command=["true"], labels={"nann-test": "left"})
    assert client.containers.list(all=True, filters={"label": "nann-test=left"}) == []


def test_a_missing_image_is_named_with_the_remedy(client: object) -> None:
    with pytest.raises(EngineError, match="nann-pipeline:none-cpu is not here; build it with `make images`"):
        require_image(client, "nann-pipeline:none-cpu")


@pytest.mark.parametrize(("script", "expected"), [("true", status.Status.SUCCESS), ("false", status.Status.FAILURE)])
def test_kfps_own_handler_tells_failures(client: object, script: str, expected: status.Status, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("seen")
    with container_runner({tmp_path: "ro"}, image=IMAGE) as runner:
        local.init(runner=runner, pipeline_root=str(tmp_path / "kfp"), workspace_root=str(tmp_path / "workspace"))
        (tmp_path / "kfp").mkdir(exist_ok=True)
        handler = docker_task_handler.DockerTaskHandler(
            image="replaced",
            full_command=["sh", "-c", f"cat {tmp_path / 'in.txt'}; {script}"],
            pipeline_root=str(tmp_path / "kfp"),
            runner=runner,
        )
        written = io.StringIO()
        with redirect_stdout(written):
            assert handler.run() == expected
        assert written.getvalue() == "seen"


def test_without_an_engine_the_reason_and_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("pipelines.containers.DOCKER_SOCKET", tmp_path / "none")
    assert shutil.which("podman") is None
    with pytest.raises(EngineError, match="needs docker or podman, but neither is there; install one"), engine_address():
        pass
