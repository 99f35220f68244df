"""Whether a container image can be pulled by its digest, asked of its registry (OCI distribution API, Docker's token authentication)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

OK, MISSING, REFUSED, SILENT = "ok", "missing", "refused", "silent"
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_REFERENCE = re.compile(r"(?P<name>[^@]+)@(?P<digest>sha256:[0-9a-f]{64})")
_LOCAL = re.compile(r"(localhost|127\.0\.0\.1)(:\d+)?")


@dataclass(frozen=True)
class Answer:
    """What a registry says about an image.

    Attributes:
        state: `OK`; `MISSING`: it has no such image; `REFUSED`: it wants (other) credentials; `SILENT`: it does not answer as a
        registry does. text: one line for people.
    """

    state: str
    text: str


def split_reference(reference: str) -> tuple[str, str, str] | None:
    """Registry, repository and digest of an image; None for one that is not named by a digest."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return None
    host, slash, repository = match["name"].partition("/")
    if not slash or not (re.search(r"[.:]", host) or host == "localhost"):  # Docker's default registry
        host, repository = "docker.io", match["name"] if slash else f"library/{match['name']}"
    return host, repository, match["digest"]


def credentials(docker_config: Mapping[str, Any], host: str) -> str:
    """The basic credentials for a registry in the content of a pull secret (``.dockerconfigjson``), or ""."""
    for name, entry in (docker_config.get("auths") or {}).items():
        if re.sub(r"^https?://", "", name).partition("/")[0] == host:
            if entry.get("auth"):
                return str(entry["auth"])
            if entry.get("username"):
                return base64.b64encode(f"{entry['username']}:{entry.get('password', '')}".encode()).decode()
    return ""


def ask_registry(reference: str, *, basic: str = "", timeout_seconds: float = 10.0) -> Answer:
    """Asks for the manifest of an image; nothing is pulled.

    Args:
        reference: the image, by its digest.
        basic: base64 of ``user:password``, or "".
        timeout_seconds: limit of one request.

    Raises:
        ValueError: the image is not named by its digest.
    """
    import urllib3

    parts = split_reference(reference)
    if parts is None:
        raise ValueError(f"the image must be named by its digest, but it is {reference!r}")
    host, repository, digest = parts
    server = "registry-1.docker.io" if host == "docker.io" else host
    scheme = "http" if _LOCAL.fullmatch(host) else "https"
    url = f"{scheme}://{server}/v2/{repository}/manifests/{digest}"
    headers = {"Accept": ", ".join(MANIFESTS)}
    with urllib3.PoolManager(timeout=timeout_seconds, retries=False) as pool:
        try:
            answer = pool.request("HEAD", url, headers=headers)
            if answer.status == 401:
                authorization = _authorization(pool, answer.headers.get("www-authenticate", ""), basic)
                if authorization:
                    answer = pool.request("HEAD", url, headers={**headers, "Authorization": authorization})
        except urllib3.exceptions.HTTPError as error:
            return Answer(SILENT, f"{host} does not answer: {' '.join(str(error).split())[:200]}")
    return _told(answer.status, host, repository, digest, given=bool(basic))


def _told(status: int, host: str, repository: str, digest: str, *, given: bool) -> Answer:
    short = f"{repository}@{digest[:19]}..."
    if status == 200:
        return Answer(OK, f"{host} has {short}")
    if status == 404:
        return Answer(MISSING, f"{host} has no {short}; push it: `make images PUSH=REGISTRY/NAME`")
    if status in (401, 403):
        return Answer(REFUSED, f"{host} refuses {short}: {'the pull secret is not enough' if given else 'it wants credentials'}")
    return Answer(SILENT, f"{host} answers {status} for {short}")


def _authorization(pool: Any, challenge: str, basic: str) -> str:
    """The header for a second try: basic credentials, or a token that the named server gives for them (or to anybody)."""
    kind, _, rest = challenge.partition(" ")
    if kind.lower() == "basic":
        return f"Basic {basic}" if basic else ""
    asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    if kind.lower() != "bearer" or "realm" not in asked:
        return ""
    query = urlencode({name: asked[name] for name in ("service", "scope") if name in asked})
    answer = pool.request("GET", f"{asked['realm']}?{query}", headers={"Authorization": f"Basic {basic}"} if basic else {})
    if answer.status != 200:
        return ""
    try:
        given = answer.json()
    except ValueError:
        return ""
    token = (given.get("token") or given.get("access_token")) if isinstance(given, dict) else ""
    return f"Bearer {token}" if token else ""
