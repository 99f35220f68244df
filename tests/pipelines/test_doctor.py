"""`nann pipeline doctor` against stand-ins for the API server, for Kubernetes (with the models of its client) and for a registry."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.doctor import needs_of
from pipelines.profiles import profile_names, read_profile
from pipelines.registry import ask_registry, credentials, split_reference

Nann = Callable[..., Result]
DIGEST = "sha256:" + "ab" * 32
BASIC = base64.b64encode(b"robot:secret").decode()


def findings(result: Result) -> dict[str, tuple[str, str]]:
    return {entry["what"]: (entry["state"], entry["text"]) for entry in json.loads(result.stdout)}


def test_all_is_there(any_stub: Any, objects: Any, images: Any, nann: Nann) -> None:
    result = nann(any_stub, "doctor", "--profile", "cpu")
    assert result.exit_code == 0, result.output
    lines = [line.split(": ", 1)[0].split(None, 1) for line in result.stdout.splitlines()]
    assert lines == [
        ["ok", what]
        for what in ("server", "version", "access", "namespace kubeflow", "claim nann-runs", "secret nann-object-store", "image")
    ]
    assert {method for method, _ in [*objects.requests, *images.requests, *any_stub.requests]} == {"GET", "HEAD"}


def test_what_is_missing_is_named_with_what_to_do(stub: Any, objects: Any, images: Any, nann: Nann) -> None:
    objects.objects = {}
    images.manifests = set()
    result = nann(stub, "doctor", "--json")
    assert result.exit_code == 1
    told = findings(result)
    assert told["claim nann-runs"] == ("missing", "is not in namespace kubeflow; make it, or name another in the profile")
    assert told["namespace kubeflow"][0] == "missing"
    assert told["secret nann-object-store"] == ("ok", "is not there, and is optional")
    assert told["image"][0] == "missing"
    assert "push it: `make images PUSH=REGISTRY/NAME`" in told["image"][1]
    assert "error: missing: namespace kubeflow, claim nann-runs, image" in result.stderr


def test_what_may_not_be_looked_at_is_not_called_missing(stub: Any, objects: Any, images: Any, nann: Nann) -> None:
    objects.forbidden = {"namespaces", "secrets", "persistentvolumeclaims"}
    result = nann(stub, "doctor", "--json")
    assert result.exit_code == 0
    assert {what: state for what, (state, _) in findings(result).items() if state != "ok"} == {
        "namespace kubeflow": "unknown",
        "claim nann-runs": "unknown",
        "secret nann-object-store": "unknown",
    }


def test_without_a_kubeconfig_the_rest_is_looked_at(stub: Any, images: Any, nann: Nann, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "/nowhere/kubeconfig")
    told = findings(nann(stub, "doctor", "--json"))
    assert told["kubernetes"] == (
        "unknown",
        "there is no kubeconfig, and this is no pod; namespace, volumes and secrets were not looked at",
    )
    assert told["image"][0] == "ok"


def test_a_claim_for_one_node_is_told(stub: Any, objects: Any, images: Any, nann: Nann) -> None:
    objects.objects["persistentvolumeclaims", "nann-runs"] = objects.module.claim("ReadWriteOnce", phase="Pending")
    state, text = findings(nann(stub, "doctor", "--json"))["claim nann-runs"]
    assert (state, text) == ("ok", "Pending, ReadWriteOnce: all pods of a run must come to one node")


@pytest.mark.parametrize(
    ("prepare", "what", "words"),
    [
        (lambda stub: setattr(stub, "needs_token", "other"), "server", "answers 401"),
        (lambda stub: setattr(stub, "tag", "2.15.0"), "version", "2.15.0 is older than 2.17"),
        (lambda stub: setattr(stub, "tag", "nightly"), "version", "calls itself 'nightly'"),
        (lambda stub: stub.faults.extend([None, 403]), "access", "give --token or NANN_KFP_TOKEN"),
        (lambda stub: stub.shutdown() or stub.server_close(), "server", "does not answer"),
    ],
)
def test_the_server_itself(
    stub: Any, objects: Any, images: Any, nann: Nann, prepare: Callable[[Any], Any], what: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.api_server.TRIES", 1)
    prepare(stub)
    state, text = findings(nann(stub, "doctor", "--json"))[what]
    assert state != "ok"
    assert words in text


def test_everything_a_profile_names_is_looked_at(stub: Any, objects: Any, images: Any, nann: Nann, tmp_path: Path) -> None:
    profile = tmp_path / "own.yaml"
    profile.write_text(
        "description: x\n"
        "defaults:\n"
        "  volumes: [{claim: runs, mount_path: /mnt/nann}]\n"
        "  object_stores: [{claim: logs, mount_path: /mnt/logs}]\n"
        "  secrets: [{name: keys, keys: {a: A, b: B}}]\n"
        "  image_pull_secrets: [puller]\n"
        "steps: {train: {workers: 2}}\n"
        "webhook: {secret: alerts}\n"
    )
    objects.objects |= {
        ("secrets", "keys"): objects.module.secret(a="x"),
        ("persistentvolumeclaims", "runs"): objects.module.claim("ReadWriteMany"),
    }
    told = findings(nann(stub, "doctor", "--profile", profile, "--json"))
    assert told["claim runs"][0] == "ok"
    assert told["claim logs"][0] == "missing"
    assert told["secret keys"] == ("missing", "has no key b")
    assert told["secret puller"][0] == "missing"
    assert told["secret alerts"][0] == "missing"  # no run fails without it, but nobody would hear of one
    assert told["training operator"][0] == "missing"
    objects.objects["tfjobs", ""] = {"apiVersion": "kubeflow.org/v1", "kind": "TFJobList", "items": [], "metadata": {}}
    assert findings(nann(stub, "doctor", "--profile", profile, "--json"))["training operator"] == ("ok", "serves TFJobs")


@pytest.mark.parametrize("name", profile_names())
def test_the_profiles_that_are_here(name: str) -> None:
    needs = needs_of(read_profile(name))
    assert needs.claims == ([] if name == "local" else ["nann-runs"])
    assert needs.optional == set(needs.secrets)
    assert needs.training_job == (name == "multi-node")
    assert len(needs.images) == (1 if name in ("local", "cpu") else 2)


@pytest.mark.parametrize(("wants", "given", "state"), [("anybody", False, "ok"), ("robot", False, "missing"), ("robot", True, "ok")])
def test_a_registry_behind_authentication(
    stub: Any, objects: Any, images: Any, nann: Nann, tmp_path: Path, wants: str, given: bool, state: str
) -> None:
    images.secret = wants
    profile = tmp_path / "own.yaml"
    profile.write_text("description: x\ndefaults: {image_pull_secrets: [puller]}\n" if given else "description: x\n")
    docker = json.dumps({"auths": {f"http://{images.host}/v2/": {"auth": BASIC}}})
    objects.objects["secrets", "puller"] = objects.module.secret(**{".dockerconfigjson": docker})
    told = findings(nann(stub, "doctor", "--profile", profile, "--json"))["image"]
    assert told[0] == state, told
    if state == "missing":
        assert "wants credentials; name its pull secret in the profile" in told[1]


def test_an_image_without_a_digest_cannot_be_pulled(stub: Any, objects: Any, nann: Nann, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.doctor.image", lambda flavour: "nann-pipeline:abc-cpu")
    state, text = findings(nann(stub, "doctor", "--json"))["image"]
    assert state == "missing"
    assert text.startswith("nann-pipeline:abc-cpu is a tag of this machine, no digest in a registry")
    with pytest.raises(ValueError, match="must be named by its digest"):
        ask_registry("nann-pipeline:abc-cpu")


def test_a_registry_that_is_not_there_is_not_called_missing(stub: Any, objects: Any, images: Any, nann: Nann) -> None:
    images.shutdown()
    images.server_close()
    assert findings(nann(stub, "doctor", "--json"))["image"][0] == "unknown"


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        (f"registry.example/team/nann@{DIGEST}", ("registry.example", "team/nann", DIGEST)),
        (f"localhost:5000/nann@{DIGEST}", ("localhost:5000", "nann", DIGEST)),
        (f"localhost/nann@{DIGEST}", ("localhost", "nann", DIGEST)),
        (f"team/nann@{DIGEST}", ("docker.io", "team/nann", DIGEST)),
        (f"python@{DIGEST}", ("docker.io", "library/python", DIGEST)),
        ("registry.example/team/nann:1.0", None),
        (f"registry.example/team/nann@{DIGEST[:-1]}", None),
    ],
)
def test_references(reference: str, parts: Any) -> None:
    assert split_reference(reference) == parts


@given(user=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), password=st.text(min_size=1))
@settings(deadline=None)
def test_credentials_in_a_pull_secret(user: str, password: str) -> None:
    coded = base64.b64encode(f"{user}:{password}".encode()).decode()
    assert credentials({"auths": {"https://r.example/v1/": {"username": user, "password": password}}}, "r.example") == coded
    assert credentials({"auths": {"r.example": {"auth": coded}}}, "r.example") == coded
    assert credentials({"auths": {"other.example": {"auth": coded}}}, "r.example") == ""
    assert credentials({}, "r.example") == ""


@pytest.mark.parametrize("body", ["<html>log in</html>", "[]", "{}", '"x"'])
def test_a_kubernetes_that_is_none_is_told(stub: Any, objects: Any, images: Any, nann: Nann, body: str) -> None:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body.encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects.module.Kubernetes, "do_GET", answer)
        result = nann(stub, "doctor", "--json")
    told = findings(result)
    assert {told[what] for what in ("namespace kubeflow", "claim nann-runs", "secret nann-object-store")} == {
        ("unknown", "what answers is not Kubernetes; look at the kubeconfig's current context")
    }
    assert told["image"][0] == "ok"


@pytest.mark.parametrize(
    "content", ["{nope: [", "\tx", "[]", "{}", '{"current-context": "gone", "contexts": [], "clusters": [], "users": []}']
)
def test_a_kubeconfig_that_cannot_be_used_is_told(
    stub: Any, images: Any, nann: Nann, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    told = findings(nann(stub, "doctor", "--json"))
    assert told["kubernetes"][0] == "unknown"
    assert told["kubernetes"][1].startswith("the kubeconfig cannot be used (")
    assert told["image"][0] == "ok"


@pytest.mark.parametrize("body", ["<html>log in</html>", "[]", "{}", ""])
def test_a_registry_without_a_token_refuses(images: Any, body: str) -> None:
    images.secret = "anybody"

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body.encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images.module.Registry, "do_GET", answer)
        assert ask_registry(f"{images.host}/team/nann@{DIGEST}").state == "refused"
    assert [method for method, _ in images.requests] == ["HEAD"]
