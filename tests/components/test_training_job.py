"""The launcher of a training job against a stand-in for the Kubernetes API that refuses what the real one would."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.training_job import Patience, TrainingJob, tf_job, train_on_workers
from nann.config import TrainConfig
from nann.errors import TrainingError
from pipelines.profiles import profile_names, read_profile
from pipelines.worker_pods import training_job

_spec = importlib.util.spec_from_file_location("kubernetes_stub", Path(__file__).with_name("kubernetes_stub.py"))
kubernetes_stub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kubernetes_stub)
ROOT = Path(__file__).parents[2]
PATIENCE = Patience(poll=0.01, outage=2.0, request=0.3)
JOB = training_job(read_profile("multi-node").resources("train"))
RUNNING, SUCCEEDED = ("Running", "TFJobRunning", ""), ("Succeeded", "TFJobSucceeded", "")
FAILED = ("Failed", "TFJobFailed", "worker-1 exited with 1")


def body(**changes: Any) -> dict[str, Any]:
    return tf_job(JOB["template"], ["nann", "train"], **{"workers": 2, "timeout_seconds": 60, **changes})


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    server = kubernetes_stub.Stub()
    # The client's default location was read when it was imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(server.kubeconfig(tmp_path / "kubeconfig")))
    yield server
    server.shutdown()
    server.server_close()


def run(**changes: Any) -> TrainingJob:
    job = TrainingJob(body(**changes), PATIENCE)
    job.run()
    return job


def methods(stub: Any) -> list[str]:
    return [method for method, _ in stub.requests]


def test_a_job_is_made_and_waited_for(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    stub.conditions = [[], [("Created", "TFJobCreated", "")], [RUNNING], [RUNNING, SUCCEEDED]]
    job = run()
    [made] = stub.jobs.values()
    assert made["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] == 2
    assert made["spec"]["runPolicy"]["activeDeadlineSeconds"] == 60
    assert methods(stub) == ["POST", "GET", "GET", "GET", "GET"]
    assert [f"training job {job.name}: {kind}" in caplog.text for kind in ("accepted", "Created", "Running", "Succeeded")] == [True] * 4


def test_a_failed_job_fails_with_its_reason_and_the_workers_last_words(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    stub.conditions = [[RUNNING], [RUNNING, FAILED]]
    stub.pods = [{"metadata": {"name": f"w-{index}"}, "status": {"phase": phase}} for index, phase in enumerate(("Running", "Failed"))]
    stub.pod_log = "the loss is nan\n"
    with pytest.raises(TrainingError, match=r"failed: TFJobFailed: worker-1 exited with 1; `kubectl logs -n team -l training.kubeflow.org"):
        run()
    assert "the last lines of worker w-1:\nthe loss is nan" in caplog.text
    assert "w-0" not in caplog.text


@pytest.mark.parametrize("faults", [[503], ["drop"], [429, "drop", 500], ["sleep"], [None, 503, "drop"]])
def test_a_server_that_is_away_for_a_moment_does_not_matter(stub: Any, faults: list) -> None:
    stub.faults = list(faults)
    run()
    assert len(stub.jobs) == 1


def test_a_server_that_stays_away_is_an_error(stub: Any) -> None:
    stub.faults = [None, *["drop"] * 99]
    job = TrainingJob(body(), Patience(poll=0.01, outage=0.2, request=0.3))
    with pytest.raises(TrainingError, match=r"the Kubernetes API does not answer, the training job nann-train-[0-9a-f]* may go on"):
        job.run()


def test_a_refusal_names_the_role(stub: Any) -> None:
    stub.faults = [403]
    with pytest.raises(TrainingError, match=r"403 tfjobs.kubeflow.org is forbidden.*needs the role in docs/cluster.md"):
        run()
    assert methods(stub) == ["POST"]


def test_a_deleted_job_is_an_error(stub: Any) -> None:
    stub.conditions = [[RUNNING]]
    job = TrainingJob(body(), PATIENCE)
    job._create()
    stub.jobs.clear()
    with pytest.raises(TrainingError, match=r"refuses to get the training job .* 404 .*; somebody deleted it"):
        job._wait()


def test_a_launcher_that_was_killed_finds_its_job_again(stub: Any) -> None:
    stub.conditions = [[RUNNING]]
    TrainingJob(body(), PATIENCE)._create()
    stub.conditions = [[RUNNING], [SUCCEEDED]]
    run()
    assert methods(stub) == ["POST", "POST", "GET", "GET"]


@pytest.mark.parametrize("end", [SUCCEEDED, FAILED])
def test_a_job_that_ended_is_replaced(stub: Any, end: tuple[str, str, str]) -> None:
    stub.conditions = [[end]]
    TrainingJob(body(), PATIENCE)._create()
    stub.conditions = [[end], [], [SUCCEEDED]]
    stub.deleting = 2  # its pods take their time
    run()
    assert methods(stub) == ["POST", "POST", "GET", "DELETE", "POST", "POST", "POST", "GET", "GET"]


def test_a_launcher_that_is_stopped_takes_the_job_with_it(stub: Any, tmp_path: Path) -> None:
    stub.conditions = [[RUNNING]]
    code = """
import json, sys
from components.training_job import Patience, TrainingJob
TrainingJob(json.load(sys.stdin), Patience(poll=0.05, outage=2, request=1)).run()
"""
    environment = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "PATH": "/usr/bin:/bin", "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdin=subprocess.PIPE, text=True)
    process.stdin.write(json.dumps(body()))
    process.stdin.close()
    end = time.monotonic() + 60
    while "GET" not in methods(stub) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert methods(stub)[-1] == "DELETE"
    assert stub.jobs == {}


def test_a_run_without_a_shared_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="run_dir is empty; submit with --run-dir"):
        train_on_workers(JOB, "")(dataset=tmp_path / "dataset", model=tmp_path / "model", config=TrainConfig())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda job: job["metadata"].update(name="1-train"), "no DNS-1035 label"),
        (lambda job: job["spec"]["tfReplicaSpecs"]["Worker"].update(replicas=2.0), "must be int"),
        (lambda job: job["spec"].update(workers=2), "unknown field 'workers'"),
        (lambda job: job["spec"]["runPolicy"].update(cleanPodPolicy="Some"), "must be one of"),
        (lambda job: template(job)["spec"]["containers"][0].update(name="main"), "no container named tensorflow"),
        (lambda job: template(job)["spec"]["containers"][0].update(imagePull="x"), "unknown field 'imagePull'"),
        (lambda job: template(job)["spec"]["containers"][0]["resources"]["limits"].update(memory="3 GB"), "no quantity"),
        (lambda job: template(job)["spec"].update(volumes=[]), "a mount names no volume"),
        (lambda job: template(job)["spec"]["volumes"].append({}), "must not be `None`"),
    ],
)
def test_the_stand_in_refuses_what_the_server_would(change: Any, message: str) -> None:
    job = json.loads(json.dumps(body()))
    kubernetes_stub.check_job(job)
    change(job)
    with pytest.raises((kubernetes_stub.Refused, ValueError), match=message):
        kubernetes_stub.check_job(job)


def template(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["tfReplicaSpecs"]["Worker"]["template"]


@pytest.mark.parametrize("name", profile_names())
def test_every_profiles_worker_would_be_accepted(name: str) -> None:
    job = training_job(read_profile(name).resources("train"))
    # as kfp hands it over: every number a float
    handed_over = {**job, "workers": float(job["workers"]), "timeout_seconds": float(job["timeout_seconds"])}
    kubernetes_stub.check_job(json.loads(json.dumps(tf_job(handed_over["template"], ["true"], workers=int(handed_over["workers"])))))


def test_an_equal_job_has_an_equal_name_and_another_another() -> None:
    assert body()["metadata"]["name"] == body()["metadata"]["name"]
    assert body()["metadata"]["name"] != body(workers=3)["metadata"]["name"]


@pytest.mark.slow
def test_real_workers_train_a_model_through_the_job(stub: Any, small_dataset: Path, tmp_path: Path) -> None:
    stub.run_workers = True
    config = TrainConfig(
        scorer="nann",
        memory="none",
        emb_dim=4,
        num_neg=8,
        batch_size=16,
        max_steps=3,
        max_length=10,
        validate_users=0,
        xla=False,
        negatives="shared",
    )
    train = train_on_workers(JOB, str(tmp_path), Patience(poll=0.5, outage=60, request=10))
    result = train(dataset=small_dataset, model=tmp_path / "model", config=config)
    assert result.metrics["steps"] == 3
    assert result.metrics["samples"] == 3 * 2 * 16
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kubeconfig", "model"]
    [made] = stub.jobs.values()
    assert template(made)["spec"]["containers"][0]["command"][:2] == ["nann", "train"]
    # A worker that fails makes the job fail.
    with pytest.raises(TrainingError, match="exit codes"):
        train(dataset=tmp_path / "none", model=tmp_path / "other", config=config)
