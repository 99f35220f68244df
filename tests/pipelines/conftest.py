"""The stand-ins: the API server, in one generation or in each, Kubernetes, and a registry."""

import functools
import importlib.util
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipelines.cli import main


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kfp_stub, objects_stub = _load("kfp_stub"), _load("objects_stub")


def _serve(monkeypatch: pytest.MonkeyPatch, generation: str) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = kfp_stub.Stub(generation)
    server.module = kfp_stub
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session", autouse=True)
def callers_are_named_without_their_sources() -> Iterator[None]:
    """Whenever kfp asks for its caller's name, Python looks up the source of every frame: a second per compilation on pytest's stack."""
    from kfp.dsl import pipeline_task

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_task, "inspect", SimpleNamespace(stack=functools.partial(inspect.stack, 0)))
        yield


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Backend 2.17."""
    yield from _serve(monkeypatch, "2.17")


@pytest.fixture(params=kfp_stub.GENERATIONS)
def any_stub(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Every generation."""
    yield from _serve(monkeypatch, request.param)


@pytest.fixture(params=["tasks", "v2"])
def newer_stub(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The generations after 2.17."""
    yield from _serve(monkeypatch, request.param)


@pytest.fixture
def nann(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs ``nann pipeline ...`` against a stub, which it looks at often; only a server that is gone is waited for in vain."""
    monkeypatch.setattr("pipelines.server_options.POLL_SECONDS", 0.05)

    def run(stub: Any, *arguments: object) -> Result:
        return CliRunner().invoke(main, ["pipeline", *map(str, arguments), "--host", stub.url, "--timeout", "30", "--quiet"])

    return run


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Kubernetes, named by a kubeconfig, with all that the profile cpu names."""
    server: Any = objects_stub.Server(objects_stub.Kubernetes)
    server.forbidden = set()
    server.objects = objects_stub.objects_there()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "stub",
        "clusters": [{"name": "stub", "cluster": {"server": f"http://{server.host}"}}],
        "users": [{"name": "stub", "user": {"token": "secret"}}],
        "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    server.module = objects_stub
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A registry that has the images."""
    server: Any = objects_stub.Server(objects_stub.Registry)
    server.secret = ""
    server.manifests = {f"/v2/team/nann/manifests/{objects_stub.DIGEST}"}
    monkeypatch.setattr("pipelines.doctor.image", lambda flavour: f"{server.host}/team/nann@{objects_stub.DIGEST}")
    server.module = objects_stub
    yield server
    server.shutdown()
    server.server_close()
