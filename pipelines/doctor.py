"""What a run on a cluster needs, looked at before one is sent: the server, the namespace, and all that a profile names."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from components.image import image
from components.training_job import GROUP, PLURAL, VERSION
from nann.steps.table import STEP_ORDER
from pipelines import registry
from pipelines.api_server import ClusterError
from pipelines.cluster import Cluster
from pipelines.profiles import Profile, Resources
from pipelines.run_state import EXIT_TASK

OK, MISSING, UNKNOWN = "ok", "missing", "unknown"
TRIED = (2, 17)  # the oldest release that these commands were made for
PULL_SECRET_KEY = ".dockerconfigjson"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: "server", "claim nann-runs", ...
        state: `OK`, `MISSING`, or `UNKNOWN` when it could not be looked at.
        text: one line: what was found, and what to do about it.
    """

    what: str
    state: str
    text: str


@dataclass(frozen=True)
class Needs:
    """What the tasks of a profile name.

    Attributes:
        claims: persistent volume claims.
        secrets: secret -> its keys that are needed; optional ones are in `optional` too.
        optional: secrets that may be absent.
        pull_secrets: secrets with credentials of registries.
        images: references.
        training_job: whether a task makes a training job of several workers.
    """

    claims: list[str] = field(default_factory=list)
    secrets: dict[str, list[str]] = field(default_factory=dict)
    optional: set[str] = field(default_factory=set)
    pull_secrets: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    training_job: bool = False


def needs_of(profile: Profile, steps: tuple[str, ...] = (*STEP_ORDER, EXIT_TASK)) -> Needs:
    """All that the tasks of a profile name, each once."""
    tasks: list[Resources] = [profile.resources(step) for step in steps]
    secrets: dict[str, dict[str, None]] = {}
    needed = set()
    for task in tasks:
        for secret in task.secrets:
            secrets.setdefault(secret.name, {}).update(dict.fromkeys(secret.keys))
            if not secret.optional:
                needed.add(secret.name)
    if profile.webhook is not None:  # no run fails without it, but nobody would hear of one
        secrets.setdefault(profile.webhook.secret, {})[profile.webhook.key] = None
        needed.add(profile.webhook.secret)
    flavours = {task.flavour: None for task in tasks} | ({"cpu": None} if any(task.workers > 1 for task in tasks) else {})
    return Needs(
        claims=list(dict.fromkeys(volume.claim for task in tasks for volume in (*task.volumes, *task.object_stores))),
        secrets={name: list(keys) for name, keys in secrets.items()},
        optional=set(secrets) - needed,
        pull_secrets=list(dict.fromkeys(name for task in tasks for name in task.image_pull_secrets)),
        images=[image(flavour) for flavour in flavours],
        training_job=any(task.workers > 1 for task in tasks),
    )


def examine(cluster: Cluster, profile: Profile, *, timeout_seconds: float = 10.0) -> Iterator[Finding]:
    """Looks at everything a run with this profile needs; nothing is changed.

    Args:
        cluster: the API server and the namespace of runs.
        profile: resources of the tasks.
        timeout_seconds: limit of one request to Kubernetes or a registry.
    """
    needs = needs_of(profile)
    yield from _server(cluster)
    objects = _Objects(cluster.namespace, timeout_seconds)
    if objects.unreachable:
        yield Finding("kubernetes", UNKNOWN, f"{objects.unreachable}; namespace, volumes and secrets were not looked at")
    else:
        yield from _kubernetes(objects, needs)
    for reference in needs.images:
        yield _image(reference, objects, needs.pull_secrets, timeout_seconds)


def _server(cluster: Cluster) -> Iterator[Finding]:
    try:
        health = cluster.health()
    except ClusterError as error:
        yield Finding("server", MISSING, str(error))
        return
    tag = str(health.get("tag_name") or "unknown")
    users = "several users" if health.get("multi_user") else "one user"
    yield Finding("server", OK, f"{cluster.where} answers; {users}")
    release = re.match(r"v?(\d+)\.(\d+)", tag)
    if release is None:
        yield Finding("version", UNKNOWN, f"the server calls itself {tag!r}; `nann pipeline` was made for 2.17 and later")
    elif (int(release[1]), int(release[2])) < TRIED:
        yield Finding("version", UNKNOWN, f"{tag} is older than 2.17, for which `nann pipeline` was made; upgrade the server")
    else:
        yield Finding("version", OK, tag)
    try:
        cluster.runs(limit=1)
    except ClusterError as error:
        remedy = "; give --token or NANN_KFP_TOKEN, and --namespace" if error.status in (400, 401, 403) else ""
        yield Finding("access", MISSING, f"runs in namespace {cluster.namespace} cannot be listed: {error}{remedy}")
    else:
        yield Finding("access", OK, f"runs in namespace {cluster.namespace} can be listed")


def _kubernetes(objects: _Objects, needs: Needs) -> Iterator[Finding]:
    yield objects.look(f"namespace {objects.namespace}", objects.namespace_itself, lambda _: "is there", "name another with --namespace")
    for claim in needs.claims:
        yield objects.look(
            f"claim {claim}", functools.partial(objects.claim, claim), _told_claim, "make it, or name another in the profile"
        )
    for name, keys in needs.secrets.items():
        yield _secret(objects, name, keys, optional=name in needs.optional)
    for name in needs.pull_secrets:
        yield _secret(objects, name, [PULL_SECRET_KEY], optional=False)
    if needs.training_job:
        remedy = "install Kubeflow's training operator, or take a profile without `workers`"
        yield objects.look("training operator", objects.training_jobs, lambda _: "serves TFJobs", remedy)


def _told_claim(claim: Any) -> str:
    modes = ", ".join(claim.spec.access_modes or ())
    text = f"{claim.status.phase}, {modes}"
    return text if "ReadWriteMany" in modes else f"{text}: all pods of a run must come to one node"


def _secret(objects: _Objects, name: str, keys: list[str], *, optional: bool) -> Finding:
    found = objects.look(
        f"secret {name}", lambda: objects.secret(name), lambda _: f"has {', '.join(keys)}", "make it with `kubectl create secret`"
    )
    if found.state == MISSING and optional:
        return Finding(found.what, OK, "is not there, and is optional")
    if found.state == OK:
        absent = [key for key in keys if key not in (objects.secret(name).data or {})]
        if absent:
            return Finding(found.what, MISSING, f"has no key {', '.join(absent)}")
    return found


def _image(reference: str, objects: _Objects, pull_secrets: list[str], timeout_seconds: float) -> Finding:
    parts = registry.split_reference(reference)
    if parts is None:
        text = f"{reference} is a tag of this machine, no digest in a registry; `make images PUSH=REGISTRY/NAME` pushes it and locks it"
        return Finding("image", MISSING, text)
    answer = registry.ask_registry(reference, timeout_seconds=timeout_seconds)
    if answer.state == registry.REFUSED:
        for basic in objects.registry_credentials(pull_secrets, parts[0]):
            answer = registry.ask_registry(reference, basic=basic, timeout_seconds=timeout_seconds)
    states = {registry.OK: OK, registry.SILENT: UNKNOWN, registry.REFUSED: MISSING, registry.MISSING: MISSING}
    hint = "; name its pull secret in the profile (image_pull_secrets)" if answer.state == registry.REFUSED and not pull_secrets else ""
    return Finding("image", states[answer.state], answer.text + hint)


class _Objects:
    """Objects of a namespace, from the cluster of the kubeconfig, or the one this runs in.

    Attributes:
        unreachable: why Kubernetes cannot be asked, or "".
    """

    def __init__(self, namespace: str, timeout_seconds: float) -> None:
        from kubernetes import client, config

        self.namespace = namespace
        self.unreachable = ""
        self._limits = {"_request_timeout": (timeout_seconds, timeout_seconds)}
        self._client = client
        configuration = client.Configuration()
        configuration.retries = False
        try:
            config.load_kube_config(client_configuration=configuration)
        except Exception as error:  # a broken file may raise anything
            try:
                config.load_incluster_config(client_configuration=configuration)
            except config.ConfigException:
                none = "No configuration found" in str(error)
                broken = f"the kubeconfig cannot be used ({' '.join(str(error).split())[:200]})"
                self.unreachable = "there is no kubeconfig, and this is no pod" if none else broken
        self._api = client.ApiClient(configuration)
        self._core = client.CoreV1Api(self._api)

    def namespace_itself(self) -> Any:
        return self._core.read_namespace(self.namespace, **self._limits)

    def claim(self, name: str) -> Any:
        return self._core.read_namespaced_persistent_volume_claim(name, self.namespace, **self._limits)

    def secret(self, name: str) -> Any:
        return self._core.read_namespaced_secret(name, self.namespace, **self._limits)

    def training_jobs(self) -> Any:
        jobs = self._client.CustomObjectsApi(self._api)
        return jobs.list_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL, limit=1, **self._limits)

    def look(self, what: str, read: Callable[[], Any], told: Callable[[Any], str], remedy: str) -> Finding:
        """One object: there, not there, or not to be looked at."""
        from urllib3.exceptions import HTTPError

        try:
            answer = read()
            if not _is_object(answer):
                return Finding(what, UNKNOWN, "what answers is not Kubernetes; look at the kubeconfig's current context")
            return Finding(what, OK, told(answer))
        except self._client.ApiException as error:
            if error.status == 404:
                return Finding(what, MISSING, f"is not in namespace {self.namespace}; {remedy}")
            return Finding(what, UNKNOWN, f"may not be looked at ({error.status} {error.reason})")
        except HTTPError as error:
            return Finding(what, UNKNOWN, f"Kubernetes does not answer: {' '.join(str(error).split())[:200]}")

    def registry_credentials(self, pull_secrets: list[str], host: str) -> Iterator[str]:
        """Credentials for a registry in the pull secrets that may be read."""
        from urllib3.exceptions import HTTPError

        for name in pull_secrets if not self.unreachable else ():
            try:
                content = (self.secret(name).data or {}).get(PULL_SECRET_KEY, "")
                basic = registry.credentials(json.loads(base64.b64decode(content)), host)
            except (self._client.ApiException, HTTPError, ValueError):
                continue
            if basic:
                yield basic


def _is_object(answer: Any) -> bool:
    """Whether Kubernetes answered: all its objects have metadata, of which its client makes nothing when a page for people comes."""
    metadata = answer.get("metadata") if isinstance(answer, dict) else getattr(answer, "metadata", None)
    return metadata is not None
