"""The exit task in a pipeline of its own, through kfp's local runner: told of success and failure alike, and posting it."""

import json
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, local

from components.webhook import URL_VARIABLE
from pipelines.dag import STEPS_GROUP, exit_task
from pipelines.runner import _kfp_surroundings


@dsl.component(base_image="unused", install_kfp_package=False)
def maybe_fail(fail: bool):
    if fail:
        raise SystemExit("on purpose")


@dsl.pipeline(name="short")
def short(fail: bool, run_dir: str = ""):
    with dsl.ExitHandler(exit_task(run_dir, ["convert"], None), name=STEPS_GROUP):
        maybe_fail(fail=fail)


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{server.server_port}/hook")
    yield received
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("fail", [False, True])
def test_the_end_of_a_run_is_posted_with_its_id(posts: list[Any], tmp_path: Path, fail: bool) -> None:
    with _kfp_surroundings(tmp_path), redirect_stdout(StringIO()):
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "kfp"), workspace_root=str(tmp_path / "workspace"))
        if fail:
            with pytest.raises(RuntimeError):
                short(fail=True)
        else:
            short(fail=False)
    [post] = posts
    assert post["state"] == ("FAILED" if fail else "SUCCEEDED")
    assert post["run"]
    assert "{{" not in post["run"]
    assert post["text"].startswith(f"run {post['run']} {post['state']}")
