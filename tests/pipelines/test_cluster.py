"""The commands that talk to a Kubeflow Pipelines API, against a stand-in that speaks kfp-server-api's models and refuses anything else."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from nann.steps.table import NAMES_OF
from pipelines.api_server import ClusterError, Server
from pipelines.cluster import Cluster
from pipelines.compilation import cluster_spec, steps_dag

Nann = Callable[..., Result]


def cluster(stub: Any, timeout_seconds: float = 30.0) -> Cluster:
    return Cluster(Server(host=stub.url, timeout_seconds=timeout_seconds, retry_seconds=0.01))


def test_submit_sends_the_compiled_pipeline_with_its_parameters(stub: Any, nann: Nann) -> None:
    result = nann(stub, "submit", "--input", "/mnt/log.csv", "--set", "train.epochs=1", "--run-name", "first", "--token", "secret")
    assert result.exit_code == 0, result.output
    [run] = stub.runs
    assert result.stdout == f"{run.run_id}\n"
    assert run.display_name == "first"
    assert run.experiment_id == stub.experiments[0].experiment_id
    assert run.pipeline_spec["pipeline_spec"]["pipelineInfo"]["name"] == "nann-training"
    assert "kubernetes" in run.pipeline_spec["platform_spec"]["platforms"]
    assert run.runtime_config.parameters["inputs"] == ["/mnt/log.csv"]
    assert run.runtime_config.parameters["train_config"]["epochs"] == 1
    assert set(stub.tokens) == {"Bearer secret"}
    assert nann(stub, "submit", "--input", "b", "--experiment", "nann").exit_code == 0
    assert len(stub.experiments) == 1


ALL = set(NAMES_OF["training"])


@pytest.mark.parametrize(
    ("flags", "cached"),
    [
        (("--cache",), ALL - {"convert"}),  # nobody said what the logs hold
        (("--cache", "--input-digest", "20260102"), ALL),
        (("--no-cache", "--input-digest", "20260102"), set()),
    ],
)
def test_caching_is_set_on_every_task_but_never_where_a_cache_could_not_know(
    stub: Any, nann: Nann, flags: tuple[str, ...], cached: set[str]
) -> None:
    assert nann(stub, "submit", "--input", "a", *flags).exit_code == 0
    spec = stub.runs[0].pipeline_spec["pipeline_spec"]
    tasks = {**steps_dag(spec)["tasks"], "summarise": spec["root"]["dag"]["tasks"]["summarise"]}
    assert {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")} == cached


def test_bad_parameters_are_refused_before_anything_is_sent(stub: Any, nann: Nann) -> None:
    for arguments in (("--param", "epochs=1"), ("--param", "x"), ("--set", "train.epoch=1"), ("--profile", "tpu")):
        result = nann(stub, "submit", "--input", "a", *arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
    assert stub.requests == []


def test_submit_and_wait(stub: Any, nann: Nann) -> None:
    stub.states = {f"run-{number}": ["FAILED"] for number in range(10)}
    result = nann(stub, "submit", "--input", "a", "--wait")
    assert result.exit_code == 1
    assert "is FAILED" in result.stderr


def test_submit_and_follow(any_stub: Any, nann: Nann) -> None:
    """The run's steps are told as they come; the server starts them between two looks."""
    add, workflow = any_stub.module.argo_workflow.Workflow, {}
    original = any_stub.module.Handler._run

    def run(handler: Any, made: Any, *, full: bool) -> Any:
        number = workflow["looks"] = workflow.get("looks", 0) + 1
        told = [{}, {"convert": "Running"}, {"convert": "Succeeded", "train": "Failed"}][min(number, 3) - 1]
        any_stub.workflows[made.run_id] = add("nann-training-x7k2p", told)
        any_stub.logs = {pod.name: f"{pod.task} wrote\n" for pod in any_stub.workflows[made.run_id].pods.values()}
        made.state = "FAILED" if number == 3 else "RUNNING"
        return original(handler, made, full=full)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(any_stub.module.Handler, "_run", run)
        result = nann(any_stub, "submit", "--input", "a", "--follow")
    [made] = any_stub.runs
    assert result.stdout == f"{made.run_id}\nconvert wrote\ntrain wrote\nsummarise wrote\n"
    assert result.exit_code == 1
    assert f"run {made.run_id} is FAILED" in result.stderr
    assert "failed: train" in result.stderr


def test_lists_for_programs(any_stub: Any, nann: Nann) -> None:
    assert json.loads(nann(any_stub, "list", "--json").stdout) == []
    assert json.loads(nann(any_stub, "list", "--schedules", "--json").stdout) == []
    any_stub.add_run("SUCCEEDED", run_id="run-0", pipeline="retraining")
    any_stub.add_run("RUNNING", run_id="run-1")
    told = json.loads(nann(any_stub, "list", "--json").stdout)
    assert [(run["run_id"], run["state"], run["pipeline"]) for run in told] == [
        ("run-1", "RUNNING", "nann-training"),
        ("run-0", "SUCCEEDED", "nann-retraining"),
    ]
    assert set(told[0]) == {"run_id", "name", "state", "pipeline", "created_at", "finished_at", "experiment_id", "schedule_id"}
    assert told[0]["created_at"] == "2026-01-02T03:04:05+00:00"


def test_waiting_has_an_end(stub: Any, nann: Nann) -> None:
    run_id = stub.add_run("RUNNING")
    result = nann(stub, "wait", run_id, "--wait-seconds", 0.1)
    assert result.exit_code == 1
    assert "is RUNNING after 0.1 s; it goes on" in result.stderr


def test_list_turns_pages(stub: Any, nann: Nann) -> None:
    for number in range(5):
        stub.add_run("SUCCEEDED", run_id=f"run-{number}")
    assert len(nann(stub, "list").stdout.splitlines()) == 5
    assert len(nann(stub, "list", "--limit", 3).stdout.splitlines()) == 3
    assert "there is no experiment 'none'" in nann(stub, "list", "--experiment", "none").stderr


def test_a_pipeline_stands_for_its_newest_run(stub: Any, nann: Nann) -> None:
    assert "there is no run of the pipeline nann-retraining" in nann(stub, "status", "--pipeline", "retraining").stderr
    assert nann(stub, "submit", "--input", "a", "--profile", "local", "--run-name", "old").exit_code == 0  # its document is not wrapped
    assert nann(stub, "submit", "--input", "a", "--run-name", "new").exit_code == 0
    assert nann(stub, "submit", "--input", "a", "--pipeline", "retraining", "--service", "/s", "--run-name", "re").exit_code == 0
    for run in stub.runs:
        run.state = "SUCCEEDED"
    assert nann(stub, "status").stdout == "new  SUCCEEDED\n"
    assert nann(stub, "status", "--pipeline", "retraining").stdout == "re  SUCCEEDED\n"
    assert nann(stub, "wait", "--pipeline", "retraining").exit_code == 0
    assert [line.split()[-1] for line in nann(stub, "list", "--pipeline", "training").stdout.splitlines()] == ["new", "old"]
    assert len(nann(stub, "list").stdout.splitlines()) == 3
    refused = nann(stub, "schedule", "nightly-training", "--pipeline", "retraining")
    assert "the schedule nightly-training runs the pipeline training, not retraining" in refused.stderr


def test_unknown_runs_and_refusals_are_one_line(stub: Any, nann: Nann) -> None:
    result = nann(stub, "status", "nothing")
    assert (result.exit_code, result.stderr) == (1, f"error: {stub.url} answers 404 Not Found: nothing not found\n")
    assert nann(stub, "status", "../experiments?x").exit_code == 1
    assert stub.requests[-1] == ("GET", "/apis/v2beta1/runs/..%2Fexperiments%3Fx")


@pytest.mark.parametrize("faults", [[503], ["drop"], [429, "drop", 500], ["sleep"]])
def test_reads_are_tried_again(stub: Any, faults: list) -> None:
    run_id = stub.add_run("SUCCEEDED")
    stub.faults = list(faults)
    assert cluster(stub, 0.5 if "sleep" in faults else 30).run(run_id).state == "SUCCEEDED"
    assert len(stub.requests) > len(faults)


def test_reads_give_up(stub: Any) -> None:
    stub.faults = [503] * 9
    with pytest.raises(ClusterError, match="answers 503 Service Unavailable: the database is asleep"):
        cluster(stub).run("x")
    assert len(stub.requests) == 4


@pytest.mark.parametrize("fault", ["drop", "sleep", 503])
def test_writes_are_not_tried_again(stub: Any, fault: Any) -> None:
    cluster(stub).experiment("nann", create=True)
    server = cluster(stub, 0.5 if fault == "sleep" else 30)
    spec = cluster_spec()
    stub.requests.clear()
    stub.faults = [None, fault]  # the experiment is found
    with pytest.raises(ClusterError):
        server.submit(spec, experiment="nann", name="x", parameters={"inputs": []})
    assert [request for request in stub.requests if request[0] == "POST"] == [("POST", "/apis/v2beta1/runs")]


def test_a_server_that_dies_midway(stub: Any) -> None:
    run_id = stub.add_run("RUNNING")

    def die(_: Any) -> None:
        stub.shutdown()
        stub.server_close()

    with pytest.raises(ClusterError, match="does not answer"):
        cluster(stub).wait(run_id, timeout_seconds=0, poll_seconds=0.01, show=die)


def test_the_stub_refuses_unknown_fields(stub: Any) -> None:
    with pytest.raises(stub.module.Refused, match="unknown field 'colour'"):
        stub.module.check({"display_name": "x", "colour": "red"}, "V2beta1Run", "V2beta1Run")


def test_without_a_host_and_outside_a_cluster() -> None:
    with pytest.raises(ClusterError, match="the API server must be named; give --host, or set NANN_KFP_HOST"):
        Cluster(Server()).run("x")


PAGE = "which is no JSON; is --host the API server?"


@pytest.mark.parametrize(
    "arguments", [("list",), ("list", "--schedules"), ("status",), ("pause", "x"), ("unschedule", "x"), ("submit", "--input", "a")]
)
def test_a_page_for_people_is_no_empty_list(stub: Any, nann: Nann, arguments: tuple[str, ...]) -> None:
    """What a proxy in front of the server answers with status 200 to those who are not logged in."""
    stub.faults = ["page"]
    result = nann(stub, *arguments)
    assert result.exit_code == 1
    assert PAGE in result.stderr
    assert len(stub.requests) == 1


def test_a_page_for_people_is_no_run_that_was_started(stub: Any, nann: Nann) -> None:
    cluster(stub).experiment("nann", create=True)
    stub.faults = [None, "page"]  # the experiment is found
    result = nann(stub, "submit", "--input", "a")
    assert (result.exit_code, result.stdout) == (1, "")
    assert PAGE in result.stderr


@pytest.mark.parametrize("body", ["[1]", "null", '"x"'])
def test_json_of_something_else_is_told(stub: Any, nann: Nann, body: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stub.module.Handler, "_route", lambda handler, *_: handler._write(200, body))
        for arguments in (("status", "x"), ("list",)):
            result = nann(stub, *arguments)
            assert result.exit_code == 1
            assert "which is no JSON object; is --host the API server?" in result.stderr


def test_an_answer_without_a_run_is_told_and_not_waited_for(stub: Any, nann: Nann) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stub.module.Handler, "_route", lambda handler, *_: handler._write(200, {}))
        for arguments in (("status", "x"), ("logs", "x"), ("wait", "x", "--wait-seconds", 1)):
            result = nann(stub, *arguments)
            assert (result.exit_code, result.stdout) == (1, "")
            assert "has no run in it; is --host the API server?" in result.stderr


@pytest.mark.parametrize("host", ["kfp.example", "ftp://kfp.example", "http://", "http://robot:hunter2@kfp.example"])
def test_a_host_that_is_no_address_is_refused_at_once_and_a_password_in_it_not_shown(host: str) -> None:
    with pytest.raises(ClusterError, match=r"--host .*https://kfp\.example") as caught:
        Cluster(Server(host=host, retry_seconds=60)).run("x")
    assert "hunter2" not in str(caught.value)


def test_a_token_read_from_a_file_may_end_in_a_line_break(stub: Any) -> None:
    stub.needs_token = "good"
    run_id = stub.add_run("SUCCEEDED")
    assert Cluster(Server(host=stub.url, token="good\r\n")).run(run_id).state == "SUCCEEDED"


@pytest.mark.parametrize("token", ["sec\nret", "sec\u20acret", "sec ret"])
def test_a_token_that_can_be_none_is_refused_without_being_shown(stub: Any, token: str) -> None:
    with pytest.raises(ClusterError, match="--token") as caught:
        Cluster(Server(host=stub.url, token=token)).run("x")
    assert "ret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert stub.requests == []
