"""The commands that talk to a Kubeflow Pipelines API, against a stand-in that speaks kfp-server-api's models and refuses anything else."""

import importlib.util
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import kfp_server_api as api
import pytest
from click.testing import CliRunner, Result

from components.steps import STEP_NAMES
from pipelines.cli import main
from pipelines.cluster import Cluster, ClusterError, Server
from pipelines.compilation import cluster_spec, steps_dag
from pipelines.profiles import read_profile
from pipelines.schedules import DIRECTORY, put_schedule, read_schedule

_spec = importlib.util.spec_from_file_location("kfp_stub", Path(__file__).with_name("kfp_stub.py"))
kfp_stub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kfp_stub)
NOW = kfp_stub.NOW


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = kfp_stub.Stub()
    yield server
    server.shutdown()
    server.server_close()


def nann(stub: Any, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["pipeline", *map(str, arguments), "--host", stub.url, "--timeout", "0.6", "--quiet"])


def cluster(stub: Any) -> Cluster:
    return Cluster(Server(host=stub.url, timeout_seconds=0.5, retry_seconds=0.01))


def finished(stub: Any, state: str, **tasks: str) -> str:
    """A run of the stub that ended so."""
    details = [
        api.V2beta1PipelineTaskDetail(
            display_name=name.replace("_", "-"),
            state=task_state,
            start_time=NOW,
            end_time=NOW + timedelta(seconds=90),
            child_tasks=[api.PipelineTaskDetailChildTask(pod_name=f"pod-{name}")],
            error=api.GoogleRpcStatus(message="exit 1") if task_state == "FAILED" else None,
        )
        for name, task_state in tasks.items()
    ]
    stub.runs.append(
        api.V2beta1Run(
            run_id="run-x", display_name="x", state=state, created_at=NOW, run_details=api.V2beta1RunDetails(task_details=details)
        )
    )
    return "run-x"


def test_submit_sends_the_compiled_pipeline_with_its_parameters(stub: Any) -> None:
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


ALL = set(STEP_NAMES)


@pytest.mark.parametrize(
    ("flags", "cached"),
    [
        (("--cache",), ALL - {"convert"}),  # nobody said what the logs hold
        (("--cache", "--input-digest", "20260102"), ALL),
        (("--no-cache", "--input-digest", "20260102"), set()),
    ],
)
def test_caching_is_set_on_every_task_but_never_where_a_cache_could_not_know(stub: Any, flags: tuple[str, ...], cached: set[str]) -> None:
    assert nann(stub, "submit", "--input", "a", *flags).exit_code == 0
    spec = stub.runs[0].pipeline_spec["pipeline_spec"]
    tasks = {**steps_dag(spec)["tasks"], "summarise": spec["root"]["dag"]["tasks"]["summarise"]}
    assert {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")} == cached


def test_bad_parameters_are_refused_before_anything_is_sent(stub: Any) -> None:
    for arguments in (("--param", "epochs=1"), ("--param", "x"), ("--set", "train.epoch=1"), ("--profile", "tpu")):
        result = nann(stub, "submit", "--input", "a", *arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
    assert stub.requests == []


@pytest.mark.parametrize(("states", "code"), [(["RUNNING", "SUCCEEDED"], 0), (["RUNNING", "FAILED"], 1), (["CANCELED"], 1)])
def test_waiting_ends_with_the_runs_outcome(stub: Any, states: list[str], code: int) -> None:
    run_id = finished(stub, "PENDING", convert="SUCCEEDED")
    stub.states[run_id] = list(states)
    result = nann(stub, "wait", run_id)
    assert result.exit_code == code, result.output
    assert f"run {run_id} {states[-1]}" in result.stderr


def test_submit_and_wait(stub: Any) -> None:
    stub.states = {f"run-{number}": ["FAILED"] for number in range(10)}
    result = nann(stub, "submit", "--input", "a", "--wait")
    assert result.exit_code == 1
    assert "is FAILED" in result.stderr


def test_waiting_has_an_end(stub: Any) -> None:
    run_id = finished(stub, "RUNNING")
    result = nann(stub, "wait", run_id, "--wait-seconds", 0.1)
    assert result.exit_code == 1
    assert "is RUNNING after 0.1 s; it goes on" in result.stderr


def test_status_lists_tasks_and_tells_failures(stub: Any) -> None:
    result = nann(stub, "status", finished(stub, "FAILED", train="FAILED", convert="SUCCEEDED"))
    assert result.exit_code == 1
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["x", "FAILED"],
        ["convert", "SUCCEEDED", "90", "s"],
        ["train", "FAILED", "90", "s", "exit", "1"],
    ]
    assert "failed: train; `nann pipeline logs run-x`" in result.stderr


def test_logs_are_those_of_the_failed_step(stub: Any) -> None:
    stub.logs = {"pod-train": "loss is NaN\n", "pod-convert": "fine\n"}
    run_id = finished(stub, "FAILED", convert="SUCCEEDED", train="FAILED")
    assert nann(stub, "logs", run_id).stdout == "loss is NaN\n"
    assert nann(stub, "logs", run_id, "--step", "convert").stdout == "fine\n"
    stub.logs = {}
    assert "try `kubectl logs -n kubeflow pod-train -c main`" in nann(stub, "logs", run_id).stderr
    assert "has no pod of the step report yet" in nann(stub, "logs", run_id, "--step", "report").stderr


def test_list_turns_pages(stub: Any) -> None:
    for number in range(5):
        stub.runs.append(api.V2beta1Run(run_id=f"run-{number}", display_name=f"n{number}", state="SUCCEEDED", created_at=NOW))
    assert len(nann(stub, "list").stdout.splitlines()) == 5
    assert len(nann(stub, "list", "--limit", 3).stdout.splitlines()) == 3
    assert "there is no experiment 'none'" in nann(stub, "list", "--experiment", "none").stderr


def test_a_pipeline_stands_for_its_newest_run(stub: Any) -> None:
    assert "there is no run of the pipeline nann-retraining" in nann(stub, "status", "--pipeline", "retraining").stderr
    assert nann(stub, "submit", "--input", "a", "--profile", "local", "--run-name", "old").exit_code == 0  # its document is not wrapped
    assert nann(stub, "submit", "--input", "a", "--run-name", "new").exit_code == 0
    assert nann(stub, "submit", "--input", "a", "--pipeline", "retraining", "--service", "/s", "--run-name", "re").exit_code == 0
    stub.runs.reverse()  # as the server sorts them
    for run in stub.runs:
        run.state = "SUCCEEDED"
    assert nann(stub, "status").stdout == "new  SUCCEEDED\n"
    assert nann(stub, "status", "--pipeline", "retraining").stdout == "re  SUCCEEDED\n"
    assert nann(stub, "wait", "--pipeline", "retraining").exit_code == 0
    assert [line.split()[-1] for line in nann(stub, "list", "--pipeline", "training").stdout.splitlines()] == ["new", "old"]
    assert len(nann(stub, "list").stdout.splitlines()) == 3
    refused = nann(stub, "schedule", "nightly-training", "--pipeline", "retraining")
    assert "the schedule nightly-training runs the pipeline training, not retraining" in refused.stderr


def test_unknown_runs_and_refusals_are_one_line(stub: Any) -> None:
    result = nann(stub, "status", "nothing")
    assert (result.exit_code, result.stderr) == (1, f"error: {stub.url} answers 404 Not Found: nothing not found\n")


@pytest.mark.parametrize("faults", [[503], ["drop"], [429, "drop", 500], ["sleep"]])
def test_reads_are_tried_again(stub: Any, faults: list) -> None:
    run_id = finished(stub, "SUCCEEDED")
    stub.faults = list(faults)
    assert cluster(stub).run(run_id).state == "SUCCEEDED"
    assert len(stub.requests) == len(faults) + 1


def test_reads_give_up(stub: Any) -> None:
    stub.faults = [503] * 9
    with pytest.raises(ClusterError, match="answers 503 Service Unavailable: the database is asleep"):
        cluster(stub).run("x")
    assert len(stub.requests) == 4


@pytest.mark.parametrize("fault", ["drop", "sleep", 503])
def test_writes_are_not_tried_again(stub: Any, fault: Any) -> None:
    server = cluster(stub)
    server.experiment("nann", create=True)
    spec = cluster_spec()
    stub.requests.clear()
    stub.faults = [None, fault]  # the experiment is found
    with pytest.raises(ClusterError):
        server.submit(spec, experiment="nann", name="x", parameters={"inputs": []})
    assert [request for request in stub.requests if request[0] == "POST"] == [("POST", "/apis/v2beta1/runs")]


def test_a_server_that_dies_midway(stub: Any) -> None:
    run_id = finished(stub, "RUNNING")

    def die(_: Any) -> None:
        stub.shutdown()
        stub.server_close()

    with pytest.raises(ClusterError, match="does not answer"):
        cluster(stub).wait(run_id, timeout_seconds=0, poll_seconds=0.01, show=die)


def test_the_stub_refuses_unknown_fields(stub: Any) -> None:
    with pytest.raises(kfp_stub.Refused, match="unknown field 'colour'"):
        kfp_stub.check({"display_name": "x", "colour": "red"}, "V2beta1Run", "V2beta1Run")


def test_a_schedule_is_made_once_and_replaced_when_it_differs(stub: Any) -> None:
    server, (name, schedule) = cluster(stub), read_schedule("nightly-training")
    spec = cluster_spec("training", read_profile("cpu"))
    first = put_schedule(server, name, schedule, spec)
    assert first.action == "created"
    [made] = stub.recurring
    assert made.trigger.cron_schedule.cron == "0 30 2 * * *"
    assert (made.no_catchup, made.max_concurrency, made.mode) == (True, "1", "ENABLE")
    assert made.runtime_config.parameters["inputs"] == ["/mnt/nann/logs/last-7-days.parquet"]
    assert put_schedule(server, name, schedule, spec) == type(first)("unchanged", first.recurring_run_id)
    changed = put_schedule(server, name, schedule.model_copy(update={"window_days": 14}), spec)
    assert changed.action == "replaced"
    assert [found.recurring_run_id for found in stub.recurring] == [changed.recurring_run_id]


def test_schedule_and_unschedule_commands(stub: Any) -> None:
    dry = nann(stub, "schedule", "nightly-training", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert dry.stdout.count("02:30:00 UTC, ") == 3
    assert stub.requests == []
    assert "created" in nann(stub, "schedule", "nightly-training").stdout
    assert "unchanged" in nann(stub, "schedule", "nightly-training").stdout
    assert "nightly-training" in nann(stub, "list", "--schedules").stdout
    other = nann(stub, "unschedule", "nightly-training", "--pipeline", "retraining")
    assert other.stdout == "nightly-training: was not there\n"
    assert nann(stub, "unschedule", "nightly-training", "--pipeline", "training").stdout == "nightly-training: 1 deleted\n"
    assert nann(stub, "unschedule", "nightly-training").stdout == "nightly-training: was not there\n"


@pytest.mark.parametrize("name", sorted(path.stem for path in DIRECTORY.glob("*.yaml")))
def test_the_schedules_that_are_here_fit_their_pipelines(stub: Any, name: str) -> None:
    result = nann(stub, "schedule", name, "--dry-run")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 3


def test_bad_schedules_are_refused(stub: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("cron: '30 2 * * *'\n")
    result = nann(stub, "schedule", path)
    assert result.exit_code == 1
    assert "has 5 fields, but needs 6" in result.stderr
    for parameters, message in (
        ("{input: [a]}", "the pipeline training has no parameter 'input'; known: benchmark_config, "),
        ("{}", "the pipeline training needs the parameter 'inputs'"),
        ("{inputs: [a], train_config: {epoch: 1}}", "train.epoch: no such option"),
    ):
        path.write_text(f"cron: '0 30 2 * * *'\nparameters: {parameters}\n")
        assert message in nann(stub, "schedule", path).stderr
    assert stub.requests == []
    assert "known: daily-retraining, nightly-training, or" in nann(stub, "schedule", "none").stderr


def test_without_a_host_and_outside_a_cluster() -> None:
    with pytest.raises(ClusterError, match="the API server must be named; give --host, or set NANN_KFP_HOST"):
        Cluster(Server()).run("x")
