"""`nann serve` over HTTP: answers, batches, what it refuses, versions, and its end."""

import concurrent.futures
import importlib.util
import json
import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import nann
from nann.artifacts import ArtifactWriter, open_artifact
from nann.errors import NannError
from nann.service.shelf import Shelf
from pipelines.cli import main

PREDICT = "/v1/models/nann:predict"


@pytest.fixture(scope="module")
def retriever(trained_run: Any) -> nann.Retriever:
    return nann.Retriever.load(trained_run.root)


def test_answers_are_those_of_the_retriever(server: Any, trained_run: Any, retriever: nann.Retriever) -> None:
    histories = [trained_run.history(3), trained_run.history(7), []]
    expected = retriever.recommend_many(histories, k=50)
    by_row = server.predict(signature_name="by_catalogue_id", instances=histories)["predictions"]
    named = server.predict(signature_name="by_catalogue_id", instances=[{"item_ids": ids} for ids in histories])["predictions"]
    columns = server.predict(signature_name="by_catalogue_id", inputs=histories)["outputs"]
    assert by_row == named == [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for found, answer in zip(by_row, expected, strict=True):
        assert found["top_k_item_ids"] == answer.ids
        np.testing.assert_allclose(found["top_k_scores"], answer.scores, atol=1e-5)


def test_rows_and_versions(server: Any, retriever: nann.Retriever) -> None:
    [found] = server.predict(instances=[{"item_ids": [3, 7, 0], "cate_ids": [1, 2, 0]}])["predictions"]
    assert set(found) == {"top_k_item_ids", "top_k_scores"}
    [scored] = server.predict(signature_name="debug", inputs={"item_ids": [[3, 7]], "cate_ids": [[1, 2]]})["outputs"]["items_scored"]
    assert 0 < scored <= 600
    rows = server.predict(signature_name="catalogue_rows", inputs=[[-7, 142]])["outputs"]["item_rows"]
    assert rows[0][0] == 0
    assert retriever.recommend_rows([rows[0][1]], k=5).ids
    body = json.dumps({"signature_name": "by_catalogue_id", "instances": [[142]]}).encode()
    assert server.send("POST", "/v1/models/nann/versions/1:predict", body)[0] == 200
    status, answer = server.send("POST", "/v1/models/nann/versions/9:predict", body)
    assert (status, json.loads(answer)) == (404, {"error": "version 9 is not served, version 1 is; leave the version out"})


def test_filters_over_http(server: Any, trained_run: Any, retriever: nann.Retriever) -> None:
    history, other = trained_run.history(3), trained_run.history(7)
    best = retriever.recommend(history, k=6).ids
    users = [
        {"item_ids": history, "exclude_item_ids": best[:3]},
        {"item_ids": other, "exclude_history": True, "exclude_item_ids": []},
        {"item_ids": other},
    ]
    answers = server.predict(signature_name="filtered_by_catalogue_id", instances=users)["predictions"]
    expected = [
        retriever.recommend(history, k=40, exclude=best[:3]),
        retriever.recommend(other, k=40, exclude_history=True),
        retriever.recommend(other, k=40),
    ]
    assert answers[0]["top_k_item_ids"][:3] == best[3:6]
    for found, answer in zip(answers[:2], expected, strict=False):
        assert found["top_k_item_ids"][:40] == answer.ids
    together = [server.predict(signature_name="filtered_by_catalogue_id", instances=[user])["predictions"][0] for user in users]
    assert [found["top_k_item_ids"] for found in together] == [found["top_k_item_ids"] for found in answers]
    rows = server.predict(signature_name="filtered", inputs={"item_ids": [[3, 7]], "cate_ids": [[1, 2]], "category_ids": [[4]]})["outputs"]
    categories = retriever._model.category_rows
    assert {int(categories[row]) for row in rows["top_k_item_ids"][0] if row} == {4}


def test_what_a_probe_and_a_client_ask(server: Any) -> None:
    assert server.get("/healthz") == {"status": "ok"}
    assert server.get("/readyz") == {"status": "ready", "version": 1}
    [version] = server.get("/v1/models/nann")["model_version_status"]
    assert version == {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    described = server.get("/v1/models/nann/metadata")
    assert described["model_spec"] == {"name": "nann", "signature_name": "", "version": "1"}
    signature = described["metadata"]["signature_def"]["signature_def"]["by_catalogue_id"]
    assert signature["inputs"]["item_ids"]["dtype"] == "DT_INT64"
    assert server.metric("nann_model_version") == 1
    assert server.metric('nann_requests_total{code="200",route="readyz"}') >= 1
    for path in ("/", "/v1/models/other", "/v1/models/nann/nothing", "/v1/models/nann/versions/x"):
        status, body = server.send("GET", path)
        assert (status, list(json.loads(body))) == (404, ["error"])
    assert server.send("GET", PREDICT)[0] == 405


def test_requests_at_one_time_share_calls_and_get_their_own_answers(server: Any, trained_run: Any, retriever: nann.Retriever) -> None:
    histories = [trained_run.items.item_ids[first : first + 1 + first % 5].tolist() for first in range(1, 41)]
    before = server.metric("nann_batch_users_count"), server.metric("nann_batch_users_sum")
    with concurrent.futures.ThreadPoolExecutor(20) as clients:
        asked = clients.map(lambda ids: server.predict(signature_name="by_catalogue_id", instances=[ids])["predictions"][0], histories)
        answers = list(asked)
    for found, expected in zip(answers, retriever.recommend_many(histories, k=50), strict=True):
        assert set(found["top_k_item_ids"][:10]) <= set(expected.ids)
        np.testing.assert_allclose(found["top_k_scores"][0], expected.scores[0], atol=1e-4)
    calls, users = server.metric("nann_batch_users_count") - before[0], server.metric("nann_batch_users_sum") - before[1]
    assert users == 40
    assert calls < 40


def by_id(text: str) -> bytes:
    return f'{{"signature_name": "by_catalogue_id", "instances": {text}}}'.encode()


def by_row(item_ids: Any, cate_ids: Any) -> bytes:
    return json.dumps({"inputs": {"item_ids": item_ids, "cate_ids": cate_ids}}).encode()


HOSTILE = {
    "nothing": (b"", "the body must be JSON"),
    "no object": (b"[]", "must be a JSON object"),
    "half an object": (b'{"instances": [[1', "the body must be JSON"),
    "no UTF-8": (b'{"instances": [["\xff"]]}', "the body must be UTF-8"),
    "UTF-16": (by_id("[[1]]").decode().encode("utf-16"), "the body must be UTF-8"),
    "deep": (by_id("[" * 9000 + "]" * 9000), "nested too deeply"),
    "deep objects": (b'{"a":' * 3000 + b"1" + b"}" * 3000, "nested too deeply"),
    "NaN": (by_id("[[NaN]]"), "NaN is no number of JSON"),
    "infinite": (by_id("[[-Infinity]]"), "-Infinity is no number of JSON"),
    "a float": (by_id("[[1.5]]"), "must hold whole numbers, got 1.5"),
    "a huge float": (by_id("[[1e999]]"), "must hold whole numbers"),
    "a truth": (by_id("[[true]]"), "must hold whole numbers, got true"),
    "a text": (by_id('[["142"]]'), 'must hold whole numbers, got \\"142\\"'),
    "nothing for an id": (by_id("[[null]]"), "must hold whole numbers"),
    "an object for an id": (by_id('[[{"b64": "AA=="}]]'), "must hold whole numbers"),
    "a list for an id": (by_id("[[[1]]]"), "must hold whole numbers"),
    "no list": (by_id("[1, 2]"), "must be a list"),
    "an object with another name": (by_id('[{"ids": [1]}]'), "must be an object with item_ids"),
    "no instances": (by_id("[]"), "must be a list with one entry per user"),
    "2^63": (by_id("[[9223372036854775808]]"), "numbers of 64 bits, got 9223372036854775808"),
    "-2^63 - 1": (by_id("[[-9223372036854775809]]"), "numbers of 64 bits"),
    "4,000 digits": (by_id(f"[[{'9' * 4000}]]"), "numbers of 64 bits, got a huge number"),
    "15,000 digits": (by_id(f"[[{'9' * 15000}]]"), "the body must be JSON"),
    "many users": (by_id(json.dumps([[1]] * 9)), "a request may hold 8 users, got 9"),
    "a long history": (by_id(json.dumps([[1] * 41])), "has 41 values, at most 40 are read"),
    "a long body": (by_id(json.dumps([[1] * 9000])), "a body may have 20000 bytes"),
    "a signature that is not served": (b'{"signature_name": "search", "instances": [[1]]}', "signature_name must be one of"),
    "a signature of another type": (b'{"signature_name": 7, "instances": [[1]]}', "signature_name must be one of"),
    "a signature of lists": (b'{"signature_name": [[]], "instances": [[1]]}', "signature_name must be one of"),
    "another key": (b'{"instance": [[1]]}', "unknown key"),
    "rows and columns": (b'{"instances": [[1]], "inputs": [[1]]}', "give either instances"),
    "negative rows": (by_row([[-1]], [[1]]), "item_ids must be rows 0..600 (0: nothing), got -1"),
    "rows out of range": (by_row([[601]], [[1]]), "item_ids must be rows 0..600 (0: nothing), got 601"),
    "negative categories": (by_row([[1]], [[-1]]), "cate_ids must be rows"),
    "categories missing": (b'{"inputs": {"item_ids": [[1]]}}', "inputs must be an object with cate_ids, item_ids"),
    "fewer categories": (by_row([[1, 2]], [[1]]), "give one per item"),
    "other users": (by_row([[1], [2]], [[1]]), "give the same number"),
    "columns of no users": (by_row([], []), "must be a list with a list per user"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_refused(server: Any, name: str) -> None:
    body, message = HOSTILE[name]
    status, answer = server.send("POST", PREDICT, body)
    assert status == (413 if name == "a long body" else 400)
    assert message in answer.decode()
    assert list(json.loads(answer)) == ["error"]


HEAD = b"POST /v1/models/nann:predict HTTP/1.1\r\nHost: x\r\n"
RAW = {
    "no request": (b"\x16\x03\x01 hello\r\n\r\n", b"400"),
    "a length that is none": (HEAD + b"Content-Length: -5\r\n\r\n{}", b"400"),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"400"),
    "a body shorter than its length": (HEAD + b"Content-Length: 100\r\n\r\n{}", b"408"),
    "a length beyond the limit": (HEAD + b"Content-Length: 99999999999\r\n\r\n" + b"x" * 30_000, b"413"),
    "chunks beyond the limit": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"2000\r\n" + b"x" * 0x2000 + b"\r\n") * 4, b"413"),
    "a chunk that is none": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
    "a long head": (b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 200_000, b"4"),
    "a body longer than its length": (HEAD + b"Content-Length: 2\r\n\r\n{}{}{}", b"400"),
}


@pytest.mark.parametrize("name", RAW)
def test_hostile_connections_are_refused(server: Any, name: str) -> None:
    sent, status = RAW[name]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(sent)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 " + status), answer


def test_a_client_that_hangs_up_leaves_no_trace(server: Any) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    server.wait_for(lambda: server.metric("nann_requests_in_progress") == 1)  # that of this question
    assert "Traceback" not in server.log.read_text()


def test_another_version_in_service_is_served_and_a_broken_one_is_not(server: Any, service: Path, trained_run: Any, tmp_path: Path) -> None:
    options = {"ef": (40, 20), "rounds": (2, 1), "top_k": 20}
    second = nann.rewrite(trained_run.root, converted_model=tmp_path / "second", **options)
    history, shelf = trained_run.history(), Shelf(service)

    def top_k() -> int:
        return len(server.predict(signature_name="by_catalogue_id", instances=[history])["predictions"][0]["top_k_item_ids"])

    assert top_k() == 50
    shelf.publish({"converted_model": open_artifact(second.path, step="rewrite")}, expected=1, keep=5)
    server.wait_for(lambda: server.get("/readyz")["version"] == 2)
    assert top_k() == 20
    assert server.metric("nann_model_switches_total") == 1

    with ArtifactWriter(tmp_path / "broken", step="rewrite", params={}, inputs={}) as directory:
        (directory / "0.meta").write_text("no graph")
    shelf.publish({"converted_model": open_artifact(tmp_path / "broken", step="rewrite")}, expected=2, keep=5)
    server.wait_for(lambda: server.metric("nann_model_load_failures_total") > 0)
    failed, served = server.get("/v1/models/nann")["model_version_status"]
    assert (failed["version"], failed["state"], failed["status"]["error_code"]) == ("3", "END", "INTERNAL")
    assert (served["version"], served["state"]) == ("2", "AVAILABLE")
    assert "version 3 is not served, version 2 stays: no form of" in server.log.read_text()
    assert (top_k(), server.get("/readyz")["version"]) == (20, 2)

    assert CliRunner().invoke(main, ["rollback", "--service", str(service), "--to", "1"]).exit_code == 0
    server.wait_for(lambda: server.get("/readyz")["version"] == 1)
    assert top_k() == 50
    assert len(server.get("/v1/models/nann")["model_version_status"]) == 1


def test_sigterm_lets_finish_what_is_running(server: Any, trained_run: Any) -> None:
    body = by_id(json.dumps([trained_run.history()]))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        server.wait_for(lambda: server.metric("nann_requests_in_progress") == 2)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        while _answers(server.port):
            assert time.monotonic() < deadline
        connection.sendall(body[10:])
        answer = connection.recv(1 << 20)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert server.process.wait(30) == 0
    assert "Traceback" not in server.log.read_text()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Give one of --service, --converted-model and --output-root."),
        (("--output-root", "a", "--service", "b"), 2, "Give one of --service"),
        (("--output-root", "nowhere"), 1, "error: nowhere is no model; give the directory of a run"),
        (("--output-root", ".", "--host", "192.0.2.1"), 1, "error: 192.0.2.1:8501 cannot be listened on"),
    ],
)
def test_what_cannot_be_served_is_said(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code == code
    assert message in result.output


def test_the_help_shows_the_defaults() -> None:
    shown = CliRunner().invoke(main, ["serve", "--help"]).stdout
    for option, default in (("--host", "127.0.0.1"), ("--port", "8501"), ("--batch-wait-ms", "1"), ("--max-batch", "64")):
        assert f"default: {default}" in " ".join(shown[shown.index(option) :].split())[:400]


def test_without_the_extra_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "starlette" else there(name, *more))
    result = CliRunner().invoke(main, ["serve", "--output-root", "."])
    assert result.exit_code == 1
    assert result.stderr == "error: nann serve needs starlette; install it with `pip install 'nann-pipeline[serve]'`\n"


def test_answers_are_sent_at_once() -> None:
    """asyncio sets TCP_NODELAY on connections whose socket names the protocol, and on no others."""
    server = pytest.importorskip("nann.serving.server")
    with server.listening_socket("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.proto == socket.IPPROTO_TCP
        with pytest.raises(NannError, match="cannot be listened on \\(Address already in use\\); give another --host or --port"):
            server.listening_socket("127.0.0.1", listening.getsockname()[1])
