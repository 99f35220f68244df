"""Resource profiles: what the tasks of a DAG get on a cluster, as data in `pipelines/profiles/*.yaml`, applied by one function.

A profile has `defaults` for every task and `steps` with what differs for some of them; a value of a step replaces the default's as a whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.errors import ConfigError, validation_message
from components.webhook import TIMEOUT_VARIABLE, URL_VARIABLE
from data_prep.opening import shown
from nann.contents import parse_yaml
from nann.steps.table import STEP_BY_NAME, STEP_ORDER, STEPS

DIRECTORY = Path(__file__).parent / "profiles"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|[KMGTP]i?)?$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Toleration(_Strict):
    """A taint of nodes that the task's pod accepts."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] = "NoSchedule"


class Accelerator(_Strict):
    """GPUs of one kind, as the device plugin names the resource."""

    type: str = "nvidia.com/gpu"
    count: int = Field(1, ge=1)


class Volume(_Strict):
    """A persistent volume claim that is there, and where the task sees it."""

    claim: str
    mount_path: str = Field(pattern="^/")
    sub_path: str = ""


class ObjectStore(Volume):
    """A bucket, reached through the claim of a CSI driver. For logs and other inputs: run directories need renames, which buckets lack."""


class Secret(_Strict):
    """Keys of a Kubernetes secret as environment variables; only names stand in the compiled pipeline."""

    name: str
    keys: dict[str, str] = Field(description="key of the secret -> environment variable")
    optional: bool = False


class Webhook(_Strict):
    """Where the exit task posts how a run ended. The address stands in a secret; neither its absence nor a failed post fails a run."""

    secret: str
    key: str = Field("url", description="key of the secret that has the address")
    timeout_seconds: float = Field(10.0, gt=0, le=300, description="of the whole post")


class Retry(_Strict):
    """Runs a failed task again; with a durable run directory it resumes."""

    times: int = Field(2, ge=0)
    backoff: str = Field("30s", pattern="^[0-9]+s$")
    factor: float = Field(2.0, ge=1)
    longest: str = Field("600s", pattern="^[0-9]+s$")


class Resources(_Strict):
    """What one task gets. Requests equal limits, so that a pod is never the first to be evicted."""

    flavour: Literal["cpu", "gpu"] = "cpu"
    cpu: str = Field("", pattern=_QUANTITY + "|^$", description="cores")
    memory: str = Field("", pattern=_QUANTITY + "|^$")
    accelerator: Accelerator | None = None
    shared_memory: str = Field("", pattern=_QUANTITY + "|^$", description="size of /dev/shm, kept in memory; counts against `memory`")
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    volumes: tuple[Volume, ...] = ()
    object_stores: tuple[ObjectStore, ...] = ()
    secrets: tuple[Secret, ...] = ()
    environment: dict[str, str] = {}
    timeout_seconds: int = Field(0, ge=0, description="0: no limit")
    retry: Retry | None = None
    image_pull_secrets: tuple[str, ...] = ()
    workers: int = Field(1, ge=1, description="of `train` alone: machines that train one model, each with all of this, as a training job")

    def of_launcher(self) -> Resources:
        """What the task gets that only makes a training job of several workers and waits for it."""
        idle: dict[str, Any] = {
            "flavour": "cpu",
            "cpu": "500m",
            "memory": "2G",
            "accelerator": None,
            "shared_memory": "",
            "environment": {},
        }
        return self.model_copy(update={**idle, "node_selector": {}, "tolerations": (), "workers": 1})


class Profile(_Strict):
    """A whole profile."""

    description: str
    defaults: dict[str, Any] = {}
    steps: dict[str, dict[str, Any]] = {}
    webhook: Webhook | None = None

    @model_validator(mode="after")
    def _known_steps(self) -> Profile:
        unknown = sorted(set(self.steps) - set(STEP_ORDER))
        if unknown:
            raise ValueError(f"no step is called {unknown[0]!r}; known: {', '.join(STEP_ORDER)}")
        for step in STEP_ORDER:
            resources = self.resources(step)
            if resources.workers > 1 and not STEP_BY_NAME[step].workers:
                able = ", ".join(known.name for known in STEPS if known.workers)
                raise ValueError(f"only {able} has several workers, but {step} has workers: {resources.workers}")
            if resources.workers > 1 and not resources.volumes:
                raise ValueError("several workers need a volume that all of them see, for the run directory")
        return self

    def resources(self, step: str) -> Resources:
        """What a task gets; tasks that are no step get the defaults."""
        return Resources(**{**self.defaults, **self.steps.get(step, {})})


def profile_names() -> list[str]:
    """The profiles that come with this package."""
    return sorted(path.stem for path in DIRECTORY.glob("*.yaml"))


def read_profile(name: str) -> Profile:
    """Reads a profile by its name, or from a file that ends in .yaml.

    Raises:
        ConfigError: there is none, or it breaks a rule; the message names field and value.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else DIRECTORY / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"there is no profile {name!r}; known: {', '.join(profile_names())}, or the path of a .yaml file")
    content = parse_yaml(path.read_bytes(), path, "a profile", remedy="mend the line", error=ConfigError)
    if not (isinstance(content, dict) and all(isinstance(key, str) for key in content)):
        raise ConfigError(f"{path} is no profile: it must hold `description`, `defaults` and `steps`, but it holds {shown(content)}")
    try:
        return Profile(**content)
    except ValidationError as error:
        raise ConfigError(validation_message(error, path.stem)) from error


def apply_profile(task: Any, step: str, profile: Profile) -> None:
    """Gives a kfp task what the profile has for its step.

    Raises:
        NannError: the profile wants an image flavour that `containers/images.lock` does not have.
    """
    from kfp import kubernetes

    from components.image import image

    resources = profile.resources(step)
    if resources.workers > 1:
        resources = resources.of_launcher()
    if resources.flavour != "cpu":
        task.set_container_image(image(resources.flavour))
    if resources.cpu:
        task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu)
    if resources.memory:
        task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    if resources.accelerator is not None:
        task.set_accelerator_type(resources.accelerator.type).set_accelerator_limit(resources.accelerator.count)
    for name, value in resources.environment.items():
        task.set_env_variable(name, value)
    if resources.retry is not None and resources.retry.times:
        retry = resources.retry
        task.set_retry(retry.times, backoff_duration=retry.backoff, backoff_factor=retry.factor, backoff_max_duration=retry.longest)
    if resources.shared_memory:
        kubernetes.empty_dir_mount(task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit=resources.shared_memory)
    for label, value in resources.node_selector.items():
        kubernetes.add_node_selector(task, label_key=label, label_value=value)
    for toleration in resources.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude={"value"} if toleration.operator == "Exists" else None))
    for volume in (*resources.volumes, *resources.object_stores):
        kubernetes.mount_pvc(task, pvc_name=volume.claim, mount_path=volume.mount_path, sub_path=volume.sub_path)
    for secret in resources.secrets:
        kubernetes.use_secret_as_env(task, secret_name=secret.name, secret_key_to_env=secret.keys, optional=secret.optional)
    if resources.timeout_seconds:
        kubernetes.set_timeout(task, resources.timeout_seconds)
    if resources.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(resources.image_pull_secrets))


def apply_webhook(task: Any, webhook: Webhook) -> None:
    """Tells the exit task where to post how the run ended."""
    from kfp import kubernetes

    kubernetes.use_secret_as_env(task, secret_name=webhook.secret, secret_key_to_env={webhook.key: URL_VARIABLE}, optional=True)
    task.set_env_variable(TIMEOUT_VARIABLE, f"{webhook.timeout_seconds:g}")
