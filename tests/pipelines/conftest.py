"""The stand-in for the API server, in one generation or in each."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipelines.cli import main

_spec = importlib.util.spec_from_file_location("kfp_stub", Path(__file__).with_name("kfp_stub.py"))
kfp_stub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kfp_stub)


def _serve(monkeypatch: pytest.MonkeyPatch, generation: str) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = kfp_stub.Stub(generation)
    server.module = kfp_stub
    yield server
    server.shutdown()
    server.server_close()


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
def nann() -> Callable[..., Result]:
    """Runs ``nann pipeline ...`` against a stub."""

    def run(stub: Any, *arguments: object) -> Result:
        return CliRunner().invoke(main, ["pipeline", *map(str, arguments), "--host", stub.url, "--timeout", "0.6", "--quiet"])

    return run
