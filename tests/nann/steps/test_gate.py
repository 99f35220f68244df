"""`gate` and `publish`: a candidate against what is in service, on the same users; the switch, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nann.artifacts import open_artifact
from nann.config import GateConfig, InServiceConfig, PublishConfig
from nann.dataset import Samples
from nann.errors import ArtifactError
from nann.evaluation.gate import check_candidate
from nann.export import ConvertedModel
from nann.service.shelf import Shelf
from nann.steps.gate import _contestant, gate
from nann.steps.in_service import in_service, read_version
from nann.steps.publish import publish
from pipelines.cli import main

CONFIG = GateConfig(k=20, max_users=12, latency_requests=3, min_coverage=0, max_latency_ratio=0)
GOOD = {"recall": 0.5, "coverage": 0.95, "latency_ms": 10.0}


def verdicts(candidate, in_service, **bounds) -> dict:
    checks = check_candidate({**GOOD, **candidate}, None if in_service is None else {**GOOD, **in_service}, GateConfig(**bounds))
    return {(check.name, check.in_service is None): check.passed for check in checks}


def test_bounds_are_relative_to_what_is_in_service():
    assert all(verdicts({}, {}).values())
    assert not verdicts({"recall": 0.48}, {})["recall", False]
    assert verdicts({"recall": 0.491}, {})["recall", False]
    assert not verdicts({"recall": 0.5}, {}, max_recall_loss=-0.05)["recall", False]
    assert not verdicts({"coverage": 0.93}, {})["coverage", False]
    assert verdicts({"coverage": 0.93}, {}, max_coverage_loss=0.03)["coverage", False]
    assert not verdicts({"latency_ms": 16.0}, {})["latency_ms", False]
    assert verdicts({"latency_ms": 14.0}, {})["latency_ms", False]
    assert ("latency_ms", False) not in verdicts({"latency_ms": 99.0}, {}, max_latency_ratio=0)


def test_without_a_model_in_service_only_absolute_bounds_hold():
    assert set(verdicts({"recall": 0.0}, None)) == {("coverage", True), ("recall", True)}
    assert not verdicts({"coverage": 0.8}, None)["coverage", True]
    assert not verdicts({}, None, min_recall=0.6)["recall", True]
    assert not verdicts({}, None, max_latency_ms=5.0)["latency_ms", True]
    assert not verdicts({"recall": float("nan")}, None)["recall", True]


def test_histories_as_the_model_in_service_sees_them(untrained_run):
    """Rows it does not know are left out and what is left moves up, with its times; what comes after its catalogue is unknown."""
    dataset = untrained_run.artifacts["dataset"]
    histories = np.array([[5, 9999, 7, 9998, 0], [9999, 0, 0, 0, 0]], np.int32)
    inputs = {"time": np.array([[11, 12, 13, 14, 0], [15, 0, 0, 0, 0]]), "age": np.array([[2], [1]])}
    samples = Samples(histories, np.array([1, 2], np.int32), np.array([1, 2]), inputs=inputs)
    model = ConvertedModel(Path("model"))
    model.inputs = {"time": {"side": "history"}, "age": {"side": "user"}}
    seen = _contestant(model, samples, dataset)
    np.testing.assert_array_equal(seen.histories, [[5, 7, 0, 0, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(np.where(seen.histories, seen.inputs["time"], 0), [[11, 13, 0, 0, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(seen.inputs["age"], [[2], [1]])


@pytest.fixture(scope="module")
def published(untrained_run, tmp_path_factory) -> Path:
    """A directory in which the first candidate was put in service: nothing was there before."""
    root = tmp_path_factory.mktemp("first")
    in_service(service=str(root / "service"), in_service=root / "in_service", config=InServiceConfig(create=True))
    assert read_version(root / "in_service") is None
    dataset, model = untrained_run.artifacts["dataset"], untrained_run.artifacts["model"]
    common = {"dataset": dataset, "converted_model": untrained_run.converted_model}
    gate(**common, in_service=root / "in_service", gate=root / "gate", config=CONFIG)
    found = publish(
        **common, model=model, service=str(root / "service"), gate=root / "gate", publication=root / "publication", config=PublishConfig()
    )
    assert found.metrics == {"published": 1, "version": 1}
    return root


def test_the_first_candidate_is_in_service_whole(published, untrained_run):
    version = published / "service" / "versions" / "000001"
    for name, step in (("dataset", "convert"), ("model", "train"), ("converted_model", "rewrite"), ("gate", "gate")):
        open_artifact(version / name, step=step)
    assert json.loads((published / "gate" / "gate.json").read_text())["version_in_service"] is None


def run_again(published: Path, untrained_run, root: Path, config: GateConfig) -> dict:
    """The same candidate's files under another gate: compared with itself, which is in service."""
    in_service(service=str(published / "service"), in_service=root / "in_service", config=InServiceConfig())
    common = {"dataset": untrained_run.artifacts["dataset"], "converted_model": untrained_run.converted_model}
    gate(**common, in_service=root / "in_service", gate=root / "gate", config=config)
    return {**common, "model": untrained_run.artifacts["model"], "gate": root / "gate", "service": str(published / "service")}


def test_a_model_compared_with_itself_is_as_good(published, untrained_run, tmp_path):
    candidate = run_again(published, untrained_run, tmp_path, CONFIG)
    result = json.loads((tmp_path / "gate" / "gate.json").read_text())
    assert result["passed"]
    assert result["version_in_service"] == 1
    one, other = (result["figures"][name] for name in ("candidate", "in_service"))
    assert (one["recall"], one["coverage"]) == (other["recall"], other["coverage"])
    assert result["users"] == 12
    assert "Refused" not in (tmp_path / "gate" / "report.html").read_text()
    found = publish(**candidate, publication=tmp_path / "publication", config=PublishConfig())
    assert found.metrics["version"] == 2
    again = publish(**candidate, publication=tmp_path / "another", config=PublishConfig())
    assert again.metrics["version"] == 2  # as after a kill between the switch and the end of the step
    result = CliRunner().invoke(main, ["rollback", "--service", str(published / "service"), "--quiet"])
    assert result.exit_code == 0, result.output
    assert "version 1 is in service" in result.stdout
    assert Shelf(published / "service").pointer().version == 1


def test_a_refused_candidate_is_kept_with_its_report(published, untrained_run, tmp_path):
    candidate = run_again(published, untrained_run, tmp_path, CONFIG.model_copy(update={"min_recall": 1.0}))
    before = Shelf(published / "service").pointer()
    found = publish(**candidate, publication=tmp_path / "publication", config=PublishConfig())
    assert found.metrics["published"] == 0
    place = published / "service" / json.loads((tmp_path / "publication" / "publication.json").read_text())["refused"]
    assert "Refused" in (place / "gate" / "report.html").read_text()
    open_artifact(place / "converted_model", step="rewrite")
    assert Shelf(published / "service").pointer() == before


def test_what_cannot_be_compared_is_refused(published, untrained_run, untrained_string_run, tmp_path):
    in_service(service=str(published / "service"), in_service=tmp_path / "in_service", config=InServiceConfig())
    strings = {"dataset": untrained_string_run.artifacts["dataset"], "converted_model": untrained_string_run.converted_model}
    with pytest.raises(ArtifactError, match=r"does not keep the item rows of the model in service.*--base the dataset in service"):
        gate(**strings, in_service=tmp_path / "in_service", gate=tmp_path / "gate", config=CONFIG)
    own = {"dataset": untrained_run.artifacts["dataset"], "converted_model": untrained_run.converted_model}
    with pytest.raises(ArtifactError, match="returns 20 items, but the gate asks for K = 30"):
        gate(**own, in_service=tmp_path / "in_service", gate=tmp_path / "gate", config=CONFIG.model_copy(update={"k": 30}))
    with pytest.raises(ArtifactError, match="belongs to"):
        publish(
            **strings,
            model=untrained_string_run.artifacts["model"],
            gate=published / "gate",
            service=str(published / "service"),
            publication=tmp_path / "publication",
            config=PublishConfig(),
        )


def test_a_run_goes_on_against_the_version_it_began_with(published, tmp_path):
    first = in_service(service=str(published / "service"), in_service=tmp_path / "in_service", config=InServiceConfig())
    again = in_service(service=str(tmp_path / "another service"), in_service=tmp_path / "in_service", config=InServiceConfig(create=True))
    assert again.reused
    assert again.metrics == first.metrics
