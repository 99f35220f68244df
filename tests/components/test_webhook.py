"""The end of a run, posted to a real server on loopback that answers, refuses, is late, or is not there."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from components.run_end import tell_run_end
from components.webhook import TIMEOUT_VARIABLE, URL_VARIABLE, post_run_end
from nann.reporting.run_summary import RunSummary

ADDRESS = "/services/very-secret"


class Hook(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.release: threading.Event | None = None
        self.posts: list[tuple[str, Any]] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """Clients that went away."""


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.headers["content-type"] == "application/json"
        self.server.posts.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("location", "/elsewhere")
        for number in range(60 if self.server.release else 0):  # every header in time, the whole after 3 s
            if self.server.release.wait(0.05):
                break
            self.send_header(f"x-{number}", "x")
            self.flush_headers()
        self.end_headers()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Hook()
    monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{server.server_port}{ADDRESS}")
    monkeypatch.setenv(TIMEOUT_VARIABLE, "5")
    yield server
    server.shutdown()
    server.server_close()


def test_the_exit_task_posts_what_became_of_the_run(hook: Hook, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    done = {"step": "convert", "seconds": 2.5, "status": "done", "reused": False, "metrics": {"users": 3}}
    failed = {**done, "step": "train", "status": "failed", "reason": "the loss is nan"}
    (run / "steps.jsonl").write_text(json.dumps(done) + "\n" + json.dumps(failed) + "\n")
    tell_run_end(str(tmp_path / "page"), run_dir=str(run), steps=["convert", "train", "extract"], state="FAILED", error="x", run="nann-abc")
    [(path, post)] = hook.posts
    assert path == ADDRESS
    assert post["text"] == "run nann-abc FAILED: train: the loss is nan"
    assert (post["run"], post["run_dir"], post["state"], post["failed_step"]) == ("nann-abc", str(run), "FAILED", "train")
    assert post["steps"] == [
        {"step": "convert", "status": "done", "seconds": 2.5},
        {"step": "train", "status": "failed", "seconds": 2.5},
        {"step": "extract", "status": "not run", "seconds": 0.0},
    ]


@pytest.mark.parametrize(("status", "arrived"), [(200, True), (204, True), (302, False), (404, False), (500, False)])
def test_only_an_answer_below_300_has_arrived_and_nothing_is_posted_twice(hook: Hook, status: int, arrived: bool) -> None:
    hook.status = status
    assert post_run_end(RunSummary(state="SUCCEEDED")) is arrived
    assert len(hook.posts) == 1


def test_a_webhook_that_never_ends_its_answer_is_left_behind(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, "0.3")
    hook.release = threading.Event()
    assert post_run_end(RunSummary(state="SUCCEEDED")) is False
    assert len(hook.posts) == 1
    hook.release.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/very-secret", "ftp://x/very-secret", "very-secret", "http://[very-secret"])
def test_a_bad_address_fails_nothing_and_is_not_logged(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    tell_run_end(str(tmp_path / "page"), run_dir="", steps=["convert"], state="FAILED", error="why")
    assert "# FAILED" in (tmp_path / "page").read_text()
    told = capsys.readouterr()
    assert "was not posted to the webhook" in told.err
    assert "very-secret" not in told.err + told.out


def test_without_an_address_nothing_is_posted(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE)
    assert post_run_end(RunSummary(state="SUCCEEDED")) is False
    assert hook.posts == []


@pytest.mark.parametrize("text", ["", "soon", "0"])
def test_a_time_out_that_is_none_is_the_default(hook: Hook, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    assert post_run_end(RunSummary(state="SUCCEEDED")) is True


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e300"])
def test_a_time_out_that_no_clock_has_fails_no_run(hook: Hook, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    assert post_run_end(RunSummary(state="SUCCEEDED")) is True
