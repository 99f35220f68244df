"""Profiles as they arrive in the compiled pipeline: the executor's resources, and the second document for Kubernetes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.errors import ConfigError
from components.image import image
from nann.steps.table import NAMES_OF
from pipelines.compilation import compiled_text, steps_dag
from pipelines.profiles import DIRECTORY, profile_names, read_profile


def compiled(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Per executor its container, and what Kubernetes is told about it."""
    spec, *rest = yaml.safe_load_all(compiled_text(profile=read_profile(name)))
    containers = {key: value["container"] for key, value in spec["deploymentSpec"]["executors"].items()}
    return containers, rest[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if rest else {}


def test_the_profiles_that_are_promised() -> None:
    assert profile_names() == ["cpu", "gpu", "local", "multi-gpu", "multi-node"]


def test_local_asks_for_nothing() -> None:
    assert compiled_text(profile=read_profile("local")) == compiled_text()


@pytest.mark.parametrize("name", ["cpu", "gpu", "multi-gpu"])
def test_every_task_has_limits_a_timeout_a_volume_and_no_secret_in_clear(name: str) -> None:
    containers, kubernetes = compiled(name)
    assert set(kubernetes) == {f"exec-{step}" for step in (*NAMES_OF["training"], "summarise")} == set(containers)
    for key, container in containers.items():
        assert container["resources"]["resourceCpuLimit"] == container["resources"]["resourceCpuRequest"], key
        assert container["resources"]["resourceMemoryLimit"] == container["resources"]["resourceMemoryRequest"], key
        assert int(kubernetes[key]["activeDeadlineSeconds"]) > 0
        assert kubernetes[key]["pvcMount"][0]["mountPath"] == "/mnt/nann"
        assert kubernetes[key]["secretAsEnv"][0]["secretName"] == "nann-object-store"
        variables = {entry["envVar"] for entry in kubernetes[key]["secretAsEnv"][0]["keyToEnv"]}
        assert variables == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.mark.parametrize(("name", "count"), [("gpu", 1), ("multi-gpu", 8)])
def test_training_on_gpus(name: str, count: int) -> None:
    containers, kubernetes = compiled(name)
    train = containers["exec-train"]
    assert train["image"] == image("gpu")
    assert train["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert train["resources"]["accelerator"]["resourceCount"] == str(count)
    environment = {entry["name"]: entry["value"] for entry in train["env"]}
    assert (environment["TF_GPU_THREAD_MODE"], environment["TF_GPU_THREAD_COUNT"]) == ("gpu_private", "1")
    assert kubernetes["exec-train"]["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
    assert kubernetes["exec-train"]["emptyDirMounts"][0]["medium"] == "Memory"
    assert kubernetes["exec-train"]["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert containers["exec-convert"]["image"] == image("cpu")
    assert "accelerator" not in containers["exec-convert"]["resources"]


def test_several_workers_become_a_training_job_and_their_launcher_asks_for_little() -> None:
    spec, platform = yaml.safe_load_all(compiled_text(profile=read_profile("multi-node")))
    task = steps_dag(spec)["tasks"]["train"]
    job = task["inputs"]["parameters"]["job"]["runtimeValue"]["constant"]
    assert (job["workers"], job["timeout_seconds"]) == (2, 86400)
    [worker] = job["template"]["spec"]["containers"]
    assert worker["image"] == image("gpu")
    assert worker["resources"]["limits"] == {"cpu": "32", "memory": "128G", "nvidia.com/gpu": "8"}
    assert {mount["mountPath"] for mount in worker["volumeMounts"]} == {"/mnt/nann", "/dev/shm"}
    assert {entry["name"] for entry in worker["env"]} == {
        *("TF_GPU_THREAD_MODE", "TF_GPU_THREAD_COUNT", "TF_FORCE_GPU_ALLOW_GROWTH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    }
    launcher = spec["deploymentSpec"]["executors"]["exec-train"]["container"]
    assert launcher["image"] == image("cpu")
    assert launcher["resources"]["resourceCpuLimit"] == "500m"
    assert "accelerator" not in launcher["resources"]
    mounts = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    assert mounts["pvcMount"][0]["mountPath"] == "/mnt/nann"
    assert "tolerations" not in mounts


def test_object_stores_and_everything_else_a_profile_may_say_arrives(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "description: x\n"
        "defaults:\n"
        "  object_stores: [{claim: nann-logs, mount_path: /mnt/logs, sub_path: clicks}]\n"
        "  node_selector: {pool: batch}\n"
        "  tolerations: [{key: batch, value: 'yes'}]\n"
        "  image_pull_secrets: [registry]\n"
        "  timeout_seconds: 60\n"
        "  retry: {times: 3, backoff: 5s, factor: 1.5, longest: 90s}\n"
    )
    spec, platform = yaml.safe_load_all(compiled_text(profile=read_profile(str(path))))
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for key in (f"exec-{step}" for step in (*NAMES_OF["training"], "summarise")):
        mount = executors[key]["pvcMount"][0]
        assert (mount["constant"], mount["mountPath"], mount["subPath"]) == ("nann-logs", "/mnt/logs", "clicks")
        assert executors[key]["nodeSelector"]["labels"] == {"pool": "batch"}
        assert executors[key]["tolerations"] == [{"key": "batch", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}]
        assert executors[key]["imagePullSecret"][0]["secretName"] == "registry"
        assert executors[key]["activeDeadlineSeconds"] == "60"
    retry = {"maxRetryCount": 3, "backoffDuration": "5s", "backoffFactor": 1.5, "backoffMaxDuration": "90s"}
    for task in [*steps_dag(spec)["tasks"].values(), spec["root"]["dag"]["tasks"]["summarise"]]:
        assert task["retryPolicy"] == retry


def test_retries_with_backoff_but_not_for_the_benchmark() -> None:
    tasks = steps_dag(next(yaml.safe_load_all(compiled_text(profile=read_profile("cpu")))))["tasks"]
    assert tasks["train"]["retryPolicy"] == {
        "backoffDuration": "30s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
        "maxRetryCount": 2,
    }
    assert "retryPolicy" not in tasks["benchmark"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("description: x\nsteps: {tain: {}}\n", "no step is called 'tain'"),
        ("description: x\ndefaults: {memory: 3 GB}\n", "memory"),
        ("description: x\ndefaults: {gpus: 1}\n", "gpus"),
        ("description: x\nsteps: {extract: {workers: 2}}\n", "only train has several workers, but extract has workers: 2"),
        ("description: x\nsteps: {train: {workers: 2}}\n", "several workers need a volume that all of them see"),
        ("defaults: {}\n", "description: a value is needed"),
        ("- x\n", "is (no|not a) profile"),
    ],
)
def test_bad_profiles_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_profile(str(path))


def test_unknown_profiles_are_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="there is no profile 'tpu'; known: cpu, gpu, local, multi-gpu, multi-node"):
        read_profile("tpu")
    assert DIRECTORY.is_dir()


def test_a_pipeline_without_resources_of_its_own_refuses_a_profile() -> None:
    with pytest.raises(ConfigError, match="'conversion' takes no profile; those that do: training"):
        compiled_text("conversion", read_profile("cpu"))


def test_a_webhook_reaches_the_exit_task_alone_by_the_name_of_its_secret(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("description: x\nwebhook: {secret: alerts, key: address, timeout_seconds: 5}\n")
    spec, platform = yaml.safe_load_all(compiled_text(profile=read_profile(str(path))))
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == {"exec-summarise"}
    [secret] = executors["exec-summarise"]["secretAsEnv"]
    assert (secret["secretName"], secret["optional"]) == ("alerts", True)
    assert secret["keyToEnv"] == [{"secretKey": "address", "envVar": "NANN_WEBHOOK_URL"}]
    environment = spec["deploymentSpec"]["executors"]["exec-summarise"]["container"]["env"]
    assert environment == [{"name": "NANN_WEBHOOK_TIMEOUT_SECONDS", "value": "5"}]
    assert "NANN_WEBHOOK" not in str(spec["deploymentSpec"]["executors"]["exec-convert"])
