"""`status`, `wait` and `logs` against every generation of the API server, and the rules below them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.api_server import Server
from pipelines.cluster import Cluster
from pipelines.run_logs import added_text, follow_logs, split_failure
from pipelines.run_state import read_run
from pipelines.workflow import count_pods, pod_name, step_nodes

Nann = Callable[..., Result]


def rows(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def test_status_lists_steps_and_tells_failures(any_stub: Any, nann: Nann) -> None:
    result = nann(any_stub, "status", any_stub.add_run("FAILED", train="Failed", convert="Succeeded", extract="omitted"))
    assert result.exit_code == 1
    head, convert, train, *_ = rows(result)
    assert head == ["x", "FAILED"]
    assert convert == ["convert", "SUCCEEDED", "90", "s"]
    assert train[:4] == ["train", "FAILED", "90", "s"]
    assert "exit code 1" in " ".join(train)
    assert "failed: train; `nann pipeline logs run-x`" in result.stderr


def test_status_tells_cached_retried_and_running_steps(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("RUNNING", convert="cached", train="retry Failed Succeeded", extract="Running")
    result = nann(any_stub, "status", run_id)
    assert result.exit_code == 0, result.output
    table = {row[0]: row[1:] for row in rows(result)[1:]}
    assert table["convert"][0] == "CACHED"
    assert table["train"] == ["SUCCEEDED", "90", "s", "2", "attempts"]
    assert table["extract"] == ["RUNNING"]


def test_status_for_programs(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("FAILED", convert="cached", train="retry Failed Failed", extract="omitted")
    result = nann(any_stub, "status", run_id, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["run_id"], told["state"], told["pipeline"]) == ("run-x", "FAILED", "nann-training")
    assert told["steps_from"] == ("task_details" if any_stub.generation == "2.17" else "tasks")
    steps = {step["step"]: step for step in told["steps"]}
    assert (steps["convert"]["state"], steps["train"]["state"]) == ("CACHED", "FAILED")
    names = [pod["name"] for pod in steps["train"]["pods"] if pod["kind"] == "executor"]
    assert names == [pod.name for pod in any_stub.workflows[run_id].pods.values() if (pod.task, pod.kind) == ("train", "executor")]
    # summarise ran besides convert (cached) and train (twice); drivers: of all three, and of root and the group of steps.
    assert told["pods"] == {"executor": 3, "driver": 3, "sub-DAG": 2}
    assert steps["train"]["seconds"] == 90
    assert "extract" not in steps or steps["extract"]["state"] == ""


def test_status_says_when_the_answer_holds_no_steps(any_stub: Any, nann: Nann) -> None:
    any_stub.add_run("PENDING")
    del any_stub.workflows["run-x"]
    result = nann(any_stub, "status", "run-x")
    assert result.exit_code == 0
    assert "holds no steps (neither in `tasks` nor in `run_details.task_details`)" in result.stderr


def test_steps_are_read_from_the_workflow_where_the_answer_holds_none(stub: Any) -> None:
    stub.add_run("RUNNING", convert="Succeeded", train="Running")
    run = read_run({"run_id": "run-x", "state": "RUNNING"}, stub.workflows["run-x"].manifest())
    assert run.source == "workflow manifest"
    assert [(task.name, task.state) for task in run.tasks] == [("convert", "SUCCEEDED"), ("train", "RUNNING")]


def test_what_the_answer_holds_decides_and_tasks_go_first(stub: Any) -> None:
    stub.add_run("SUCCEEDED", convert="cached")
    workflow = stub.workflows["run-x"]
    details = {"run_details": {"task_details": workflow.task_details()}}
    assert read_run(details).source == "task_details"
    assert read_run({**details, "tasks": []}).source == "task_details"
    both = read_run({**details, "tasks": workflow.tasks()}, workflow.manifest())
    assert (both.source, both.tasks[0].state) == ("tasks", "CACHED")
    assert read_run({"run_details": {"task_details": []}}).source == ""


def test_logs_are_those_of_the_failed_step(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("FAILED", convert="Succeeded", train="Failed", extract="omitted")
    assert nann(any_stub, "logs", run_id).stdout == "train executor 1\n"
    assert nann(any_stub, "logs", run_id, "--step", "convert").stdout == "convert executor 1\n"
    assert nann(any_stub, "logs", run_id, "--step", "summarise").stdout == "summarise executor 1\n"
    missing = nann(any_stub, "logs", run_id, "--step", "extract")
    assert missing.exit_code == 1
    assert "has no pod of the step extract yet" in missing.stderr


def test_without_a_failure_logs_are_those_of_all_steps(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("SUCCEEDED", convert="cached", train="Succeeded", extract="Succeeded")
    result = nann(any_stub, "logs", run_id)
    assert result.stdout == "train executor 1\nextract executor 1\nsummarise executor 1\n"
    cached = nann(any_stub, "logs", run_id, "--step", "convert")
    assert cached.exit_code == 1
    assert "its result was taken from an earlier run (cached)" in cached.stderr


def test_logs_of_a_retried_step_are_those_of_all_attempts(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("SUCCEEDED", train="retry Failed Failed Succeeded")
    result = nann(any_stub, "logs", run_id, "--step", "train")
    assert result.exit_code == 0, result.output
    assert result.stdout == "train executor 1\ntrain executor 2\ntrain executor 3\n"
    titles = [line.partition(" (")[0] for line in result.stderr.splitlines()]
    assert titles == [f"--- train, attempt {number} of 3" for number in (1, 2, 3)]


def test_logs_of_a_driver_that_failed(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("FAILED", convert="Succeeded", train="driver-failed")
    result = nann(any_stub, "logs", run_id)
    assert result.stdout == "train driver 1\n"
    assert "--- train, its driver (" in result.stderr


@pytest.mark.parametrize("pod_name_format", ["v1", "v2"])
def test_where_the_server_has_no_log_kubectl_is_told_with_the_pods_true_name(any_stub: Any, nann: Nann, pod_name_format: str) -> None:
    run_id = any_stub.add_run("FAILED", train="retry Failed Failed", pod_name_format=pod_name_format)
    pod = any_stub.pod(run_id, "train")
    del any_stub.logs[pod.name]
    result = nann(any_stub, "logs", run_id)
    assert result.exit_code == 1
    assert result.stdout == "train executor 1\n"  # the other attempt is shown all the same
    assert f"the server has no log of pod {pod.name} (Failed to read logs for run run-x" in result.stderr
    assert f"try `kubectl logs -n kubeflow {pod.name} -c main`" in result.stderr


def test_logs_of_pods_that_are_gone_come_from_the_archive(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("FAILED", train="Failed")
    any_stub.archive = {any_stub.pod(run_id, "train").node_id: "archived\n"}
    any_stub.logs = {}
    assert nann(any_stub, "logs", run_id).stdout == "archived\n"


def test_where_the_workflow_is_gone_the_pods_cannot_be_named(stub: Any, nann: Nann) -> None:
    run_id = stub.add_run("FAILED", train="Failed")
    workflow = stub.workflows[run_id]
    workflow.manifest = dict  # an empty one
    result = nann(stub, "logs", run_id)
    assert result.exit_code == 1
    assert "the server does not say which pods the step train had" in result.stderr


def test_a_busy_server_is_asked_again_for_a_log(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("FAILED", train="Failed")
    requests_before_the_log = 2 if any_stub.generation == "2.17" else 1
    any_stub.faults = [None] * requests_before_the_log + [503]
    assert nann(any_stub, "logs", run_id).stdout == "train executor 1\n"


def test_a_running_step_is_followed_until_it_has_ended(any_stub: Any) -> None:
    run_id = any_stub.add_run("RUNNING", train="Running")
    pod = any_stub.pod(run_id, "train").name
    any_stub.logs = {}
    any_stub.growing = {pod: ["epoch 1\n", "", "epoch 2\nepo", "ch 3\n"]}
    any_stub.states = {run_id: ["RUNNING"] * 5 + ["SUCCEEDED"]}
    titles, written = [], []
    server = Cluster(Server(host=any_stub.url, timeout_seconds=30, retry_seconds=0.01))
    run = follow_logs(server, run_id, step=None, poll_seconds=0.01, title=titles.append, write=written.append)
    assert run.state == "SUCCEEDED"
    assert written == ["epoch 1\n", "epoch 2\nepo", "ch 3\n"]
    assert titles == [f"train ({pod})"]


def test_following_says_everything_that_each_attempt_wrote_once(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("SUCCEEDED", convert="cached", train="retry Failed Succeeded")
    result = nann(any_stub, "logs", run_id, "--follow", "--step", "train")
    assert result.exit_code == 0, result.output
    assert result.stdout == "train executor 1\ntrain executor 2\n"


def test_a_driver_that_failed_is_told_by_wait_and_follow(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("FAILED", convert="Succeeded", train="driver-failed")
    waited = nann(any_stub, "wait", run_id)
    assert waited.exit_code == 1
    assert "failed: train" in waited.stderr
    followed = nann(any_stub, "logs", run_id, "--follow")
    assert "convert executor 1\ntrain driver 1\n" in followed.stdout
    assert "--- train, its driver (" in followed.stderr


def test_what_is_no_api_server_is_told(any_stub: Any, nann: Nann) -> None:
    any_stub.faults = ["page"]
    result = nann(any_stub, "status", any_stub.add_run("SUCCEEDED"))
    assert result.exit_code == 1
    assert "which is no JSON; is --host the API server?" in result.stderr


def test_following_a_cached_step_says_that_there_is_nothing(any_stub: Any, nann: Nann) -> None:
    run_id = any_stub.add_run("SUCCEEDED", convert="cached", train="Succeeded")
    result = nann(any_stub, "logs", run_id, "--follow", "--step", "convert")
    assert result.exit_code == 1
    assert "its result was taken from an earlier run (cached)" in result.stderr


def test_a_driver_that_the_cluster_retries_is_one_too(stub: Any) -> None:
    """Kubeflow/pipelines, workflow.go, FindObjectStoreArtifactKeyOrEmpty: a cluster's templateDefaults put Retry nodes above every pod."""
    stub.add_run("FAILED", train="driver-failed")
    manifest = stub.workflows["run-x"].manifest()
    [driver] = [node for node in manifest["status"]["nodes"].values() if node["displayName"] == "train-driver"]
    pod = {**driver, "id": driver["id"] + "1", "name": driver["name"] + "(0)", "displayName": "train-driver(0)"}
    manifest["status"]["nodes"] |= {driver["id"]: {**driver, "type": "Retry", "children": [pod["id"]]}, pod["id"]: pod}
    [task] = read_run({"run_id": "run-x", "state": "FAILED"}, manifest).failed
    assert [(one.name, one.kind, one.state) for one in task.pods] == [(pod_name(manifest, pod), "driver", "FAILED")]


@pytest.mark.parametrize(("states", "code"), [(["RUNNING", "SUCCEEDED"], 0), (["RUNNING", "FAILED"], 1), (["CANCELED"], 1)])
def test_waiting_ends_with_the_runs_outcome(any_stub: Any, nann: Nann, states: list[str], code: int) -> None:
    run_id = any_stub.add_run("PENDING", convert="Succeeded")
    any_stub.states[run_id] = list(states)
    result = nann(any_stub, "wait", run_id)
    assert result.exit_code == code, result.output
    assert "convert SUCCEEDED" in result.stderr
    assert f"run {run_id} {states[-1]}" in result.stderr


@given(
    name=st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    template=st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    short=st.integers(min_value=0, max_value=2**32 - 1),
)
@settings(deadline=None)
def test_pods_are_named_by_the_servers_rule(name: str, template: str, short: int) -> None:
    node = {"id": f"{name}-{short}", "name": f"{name}.root.x", "templateName": template}
    plain = {"metadata": {"name": name}}
    assert pod_name(plain, node) == f"{name}-{template}-{short}"
    assert pod_name(plain, {**node, "name": f"{name}.inline"}) == f"{name}-{short}"
    assert pod_name(plain, {"id": name, "name": name, "templateName": template}) == name
    assert pod_name({"metadata": {"name": name, "annotations": {"workflows.argoproj.io/pod-name-format": "v1"}}}, node) == node["id"]


def test_attempts_are_in_their_order_beyond_ten(stub: Any) -> None:
    stub.add_run("SUCCEEDED", train="retry " + " ".join(["Failed"] * 11 + ["Succeeded"]))
    workflow = stub.workflows["run-x"]
    wanted = [pod.name for pod in workflow.pods.values() if (pod.task, pod.kind) == ("train", "executor")]
    manifest = workflow.manifest()
    manifest["status"]["nodes"] = dict(sorted(manifest["status"]["nodes"].items(), reverse=True))
    for node in manifest["status"]["nodes"].values():
        node["startedAt"] = ""  # then the numbers in their names decide
    assert [pod.name for pod in step_nodes(manifest, ["train"])["train"].pods[1:]] == wanted
    assert count_pods(manifest)["executor"] == 13


@given(log=st.text(), details=st.text())
@settings(deadline=None)
def test_a_failed_read_is_told_from_a_log(log: str, details: str) -> None:
    failure = json.dumps({"error_message": "m", "error_details": details})
    clean = log.replace('{"error_message":', "")
    assert split_failure(clean) == (clean, "")
    text, reason = split_failure(clean + failure)
    assert text == (clean or None)
    assert reason == (" ".join(details.split())[:300] or "m")


@given(data=st.data(), count=st.integers(min_value=0, max_value=60))
@settings(deadline=None)
def test_what_a_log_has_more_is_found_though_its_beginning_may_be_gone(data: st.DataObject, count: int) -> None:
    lines = [f"line {number}\n" for number in range(count)]
    begin = data.draw(st.integers(0, count))
    kept, seen = data.draw(st.integers(begin, count)), data.draw(st.integers(begin, count))
    before, now = "".join(lines[begin:seen]), "".join(lines[min(kept, seen) :])
    assert added_text(before, now) == "".join(lines[seen:])
    lost = "".join(lines[max(kept, seen) :])  # even the last line that was seen is gone
    assert added_text(before, lost) == lost


@pytest.mark.parametrize("body", ['{"error_message": "m", "loss": 1}', '{"error_message": broken', '{"error_message": "m"} and more'])
def test_what_a_step_prints_is_no_failed_read(body: str) -> None:
    assert split_failure(body) == (body, "")


@pytest.mark.parametrize("command", ["status", "wait", "logs"])
def test_an_empty_id_is_not_the_newest_run(stub: Any, nann: Nann, command: str) -> None:
    """As a shell makes it of a variable that is not set."""
    stub.add_run("SUCCEEDED", train="Succeeded")
    result = nann(stub, command, "")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "RUN_ID" in result.stderr
    assert stub.requests == []


@pytest.mark.parametrize("line", ['{"error_message":"mine"}', '{"error_message":"mine","error_details":"mine too"}'])
def test_a_line_that_a_step_writes_about_its_errors_is_shown(any_stub: Any, nann: Nann, line: str) -> None:
    """backend/src/apiserver/server/run_log_server.go, writeErrorToResponse: always both fields, and no line break behind them."""
    run_id = any_stub.add_run("FAILED", train="Failed")
    any_stub.logs[any_stub.pod(run_id, "train").name] = f"before\n{line}\n"
    result = nann(any_stub, "logs", run_id)
    assert (result.exit_code, result.stdout) == (0, f"before\n{line}\n")


def test_following_a_submission_has_an_end_where_one_is_given(stub: Any, nann: Nann) -> None:
    stub.states = {f"run-{number}": ["RUNNING"] * 20 + ["SUCCEEDED"] for number in range(10)}
    result = nann(stub, "submit", "--input", "a", "--follow", "--wait-seconds", 0.2)
    assert result.exit_code == 1
    assert "is RUNNING after 0.2 s; it goes on" in result.stderr


def test_a_character_that_is_half_written_is_shown_when_it_is_whole(any_stub: Any) -> None:
    run_id = any_stub.add_run("RUNNING", train="Running")
    texts = ["Zürich\n".encode()[:2], "Zürich\n".encode(), "Zürich\n".encode()]
    any_stub.states = {run_id: ["RUNNING"] * 2 + ["SUCCEEDED"]}
    written: list[str] = []
    server = Cluster(Server(host=any_stub.url, timeout_seconds=30, retry_seconds=0.01))
    read = server.read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            server, "read", lambda path, *rest, **more: texts.pop(0) if path.endswith("/log") and texts else read(path, *rest, **more)
        )
        if any_stub.generation == "v2":
            patch.setattr("pipelines.run_logs.ROUTES", ("v2beta1",))
        follow_logs(server, run_id, step="train", poll_seconds=0.01, title=lambda _: None, write=written.append)
    assert "".join(written) == "Zürich\n"


@pytest.mark.parametrize(
    "manifest", [[1], "nope", None, {"status": {"nodes": {"a": {"id": "a", "name": "x.train", "displayName": "train"}}}}]
)
def test_a_workflow_that_is_none_leaves_the_steps_without_pods(stub: Any, nann: Nann, manifest: Any) -> None:
    run_id = stub.add_run("FAILED", train="Failed")
    stub.workflows[run_id].manifest = lambda: manifest
    result = nann(stub, "status", run_id)
    assert result.exit_code == 1
    assert "train           FAILED" in result.stdout
    assert "failed: train" in result.stderr
    assert "the server does not say which pods the step train had" in nann(stub, "logs", run_id).stderr
