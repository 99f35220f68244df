"""The clients of examples/serving, and `nann benchmark --url`, against `nann serve`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import nann
from nann.export.retrieval_graph import PORTABLE
from pipelines.cli import main

EXAMPLES = Path(__file__).parents[3] / "examples" / "serving"


def test_the_client_in_python(server: Any, trained_run: Any) -> None:
    history = trained_run.history(3)
    command = [sys.executable, EXAMPLES / "client.py", "--url", f"http://127.0.0.1:{server.port}", "--k", "4"]
    histories = [",".join(map(str, ids)) for ids in (history, history[:1])]
    done = subprocess.run([*command, "--history", histories[0], "--history", histories[1]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    expected = nann.Retriever.load(trained_run.root).recommend(history, k=4)
    lines = done.stdout.splitlines()
    assert (lines[0], lines[5]) == (f"after {histories[0]}:", f"after {histories[1]}:")
    assert [line.split()[1] for line in lines[1:5]] == [str(item_id) for item_id in expected.ids]
    refused = subprocess.run([*command, "--history", "9" * 30], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: status 400: item_ids must hold numbers of 64 bits")


def test_the_client_with_curl(server: Any, trained_run: Any) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    arguments = [EXAMPLES / "client.sh", ",".join(map(str, trained_run.history())), f"http://127.0.0.1:{server.port}"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["predictions"][0]["top_k_item_ids"]) == 50
    refused = subprocess.run([arguments[0], "shoe", arguments[2]], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 22
    assert "the body must be JSON" in refused.stdout


def test_the_compose_file_serves_the_portable_form_on_loopback() -> None:
    [service] = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"].values()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    [volume] = service["volumes"]
    assert volume.endswith(f"/{PORTABLE.parent}:/models/nann:ro")
    assert "--model_base_path=/models/nann" in service["command"]


def benchmark(run: Any, path: Path, *arguments: Any) -> Any:
    options = ("--warmup-seconds", 0.04, "--duration-seconds", 0.3, "--traced-requests", 0, "--graphs", "portable")
    return CliRunner().invoke(
        main, ["benchmark", "--output-root", str(run.root), "--benchmark", str(path), *map(str, (*options, *arguments))]
    )


def test_a_server_is_measured_beside_the_graph_in_this_process(server: Any, trained_run: Any, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.port}"
    before = server.metric('nann_requests_total{code="200",route="predict"}')
    done = benchmark(trained_run, tmp_path / "benchmark", "--url", url, "--threads", 2, "--requests-per-s", 40)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "benchmark" / "latency.json").read_text())
    assert set(figures["graphs"]) == {"portable", "http"}
    http = figures["graphs"]["http"]
    assert (http["errors"], http["requests"]) == (0, 12)
    answered = server.metric('nann_requests_total{code="200",route="predict"}') - before
    assert answered == http["requests"] + http["warmup_requests"] + 1
    assert http["p99_ms"] >= http["p50_ms"] > 0
    assert "http" in (tmp_path / "benchmark" / "report.html").read_text()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9", "error: http://127.0.0.1:9 cannot be asked (ConnectionRefusedError"),
        ("ftp://x", "error: --url must be http://HOST:PORT, got ftp://x"),
        ("SERVER", 'cannot be asked (status 400: {"error": "a request may hold 8 users, got 9; split it"}); start `nann serve`'),
    ],
)
def test_a_server_that_does_not_answer_is_said(server: Any, trained_run: Any, tmp_path: Path, url: str, message: str) -> None:
    done = benchmark(
        trained_run, tmp_path / "benchmark", "--url", url.replace("SERVER", f"http://127.0.0.1:{server.port}"), "--batch-size", 9
    )
    assert done.exit_code == 1
    assert message in done.stderr
    assert not (tmp_path / "benchmark").exists()
