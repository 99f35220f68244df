"""Stand-ins for what `nann pipeline doctor` asks besides the API server: Kubernetes (its client's models) and a registry."""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import kubernetes.client as kubernetes

DIGEST = "sha256:" + "ab" * 32
BASIC = base64.b64encode(b"robot:secret").decode()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.host = f"127.0.0.1:{self.server_port}"
        self.requests: list[tuple[str, str]] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def reply(self, status: int, content: Any = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if content is not None and self.command != "HEAD":
            self.wfile.write(json.dumps(content).encode())


class Kubernetes(Quiet):
    """Reads of single objects; `forbidden` are kinds that the user may not read."""

    def do_GET(self) -> None:
        server: Any = self.server
        path = urlparse(self.path).path
        server.requests.append(("GET", path))
        found = re.fullmatch(r"/api/v1/namespaces/([^/]+)(?:/(persistentvolumeclaims|secrets)/([^/]+))?", path)
        key = None
        if found:
            key = (found[2] or "namespaces", found[3] or found[1])
        elif path == "/apis/kubeflow.org/v1/namespaces/kubeflow/tfjobs":
            key = ("tfjobs", "")
        if key and key[0] in server.forbidden:
            self.reply(403, {"kind": "Status", "message": f"{key[0]} is forbidden"})
        elif key in server.objects:
            self.reply(200, server.objects[key])
        else:
            self.reply(404, {"kind": "Status", "message": "not found"})


class Registry(Quiet):
    """The distribution API's manifests, behind Docker's token authentication when `secret` is set."""

    def do_HEAD(self) -> None:
        server: Any = self.server
        server.requests.append(("HEAD", self.path))
        if server.secret and self.headers.get("authorization") != "Bearer good":
            challenge = f'Bearer realm="http://{server.host}/token",service="stub",scope="repository:team/nann:pull"'
            self.reply(401, www_authenticate=challenge)
            return
        assert "application/vnd.oci.image.index.v1+json" in self.headers["accept"]
        self.reply(200 if self.path in server.manifests else 404)

    def do_GET(self) -> None:
        server: Any = self.server
        url = urlparse(self.path)
        assert url.path == "/token"
        assert parse_qs(url.query) == {"service": ["stub"], "scope": ["repository:team/nann:pull"]}
        wanted = {"anybody": None, "robot": f"Basic {BASIC}"}[server.secret]
        if self.headers.get("authorization") == wanted:
            self.reply(200, {"token": "good"})
        else:
            self.reply(401)


def as_server(item: Any) -> Any:
    """An object of the client's models as the server sends it."""
    return kubernetes.ApiClient().sanitize_for_serialization(item)


def claim(*modes: str, phase: str = "Bound") -> Any:
    spec = kubernetes.V1PersistentVolumeClaimSpec(access_modes=list(modes))
    status = kubernetes.V1PersistentVolumeClaimStatus(phase=phase)
    return as_server(kubernetes.V1PersistentVolumeClaim(metadata=kubernetes.V1ObjectMeta(name="claim"), spec=spec, status=status))


def secret(**data: str) -> Any:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return as_server(kubernetes.V1Secret(metadata=kubernetes.V1ObjectMeta(name="secret"), data=encoded))


def objects_there() -> dict[tuple[str, str], Any]:
    """All that the profile cpu names."""
    return {
        ("namespaces", "kubeflow"): as_server(kubernetes.V1Namespace(metadata=kubernetes.V1ObjectMeta(name="kubeflow"))),
        ("persistentvolumeclaims", "nann-runs"): claim("ReadWriteMany"),
        ("secrets", "nann-object-store"): secret(access_key="a", secret_key="b"),
    }
