"""The pods of a training job, from the same resources that a task of the pipeline gets."""

from __future__ import annotations

from typing import Any

from components.image import image
from components.training_job import CONTAINER
from pipelines.profiles import Resources


def training_job(resources: Resources) -> dict[str, Any]:
    """The parameter ``job`` of `components.train_workers.train`: a worker gets what a lone training would get."""
    return {"workers": resources.workers, "template": pod_template(resources), "timeout_seconds": resources.timeout_seconds}


def pod_template(resources: Resources) -> dict[str, Any]:
    """A pod template (Kubernetes core/v1) with one container, its command left out."""
    limits = {name: value for name, value in (("cpu", resources.cpu), ("memory", resources.memory)) if value}
    if resources.accelerator is not None:
        limits[resources.accelerator.type] = str(resources.accelerator.count)
    mounts, volumes = _mounts(resources)
    secrets = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key, "optional": secret.optional}}}
        for secret in resources.secrets
        for key, variable in secret.keys.items()
    ]
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image(resources.flavour),
        "env": [*({"name": name, "value": value} for name, value in resources.environment.items()), *secrets],
        "volumeMounts": mounts,
    }
    if limits:
        container["resources"] = {"limits": limits, "requests": limits}
    spec: dict[str, Any] = {"containers": [container], "volumes": volumes, "restartPolicy": "Never"}
    if resources.node_selector:
        spec["nodeSelector"] = dict(resources.node_selector)
    if resources.tolerations:
        spec["tolerations"] = [
            toleration.model_dump(exclude={"value"} if toleration.operator == "Exists" else None) for toleration in resources.tolerations
        ]
    if resources.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in resources.image_pull_secrets]
    # A proxy beside the worker would keep the pod alive after its end, and stands between the workers.
    return {"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}, "spec": spec}


def _mounts(resources: Resources) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    claims = [*resources.volumes, *resources.object_stores]
    # One volume per claim, however often it is mounted.
    names = {claim: f"claim-{number}" for number, claim in enumerate(dict.fromkeys(volume.claim for volume in claims))}
    mounts = [
        {"name": names[volume.claim], "mountPath": volume.mount_path} | ({"subPath": volume.sub_path} if volume.sub_path else {})
        for volume in claims
    ]
    volumes: list[dict[str, Any]] = [{"name": name, "persistentVolumeClaim": {"claimName": claim}} for claim, name in names.items()]
    if resources.shared_memory:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": resources.shared_memory}})
    return mounts, volumes
