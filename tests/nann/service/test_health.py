"""`nann health`: what it says of a service and how it ends, on services with real datasets and checks."""

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.csv
import pytest
from click.testing import CliRunner, Result

from nann.artifacts import Artifact, ArtifactWriter, open_artifact
from nann.service.shelf import Shelf
from pipelines.cli import main

YEARS = 24 * 365 * 50


def health(service: object, *more: object) -> Result:
    return CliRunner().invoke(main, ["health", str(service), *map(str, more)])


def findings(result: Result) -> dict[str, dict]:
    return {finding["name"]: finding for finding in json.loads(result.output)["findings"]}


@dataclass
class Candidates:
    """Artifacts of a real dataset and its check, and gates that say what a test needs."""

    root: Path
    dataset: Artifact
    data_check: Artifact

    def gate(self, name: str, *broken: str) -> Artifact:
        checks = [{"name": rule, "passed": rule not in broken} for rule in ("recall", "coverage", "users")]
        with ArtifactWriter(self.root / name, step="gate", params={"name": name}, inputs={"dataset": self.dataset}) as directory:
            (directory / "gate.json").write_text(json.dumps({"passed": not broken, "version_in_service": None, "checks": checks}))
        return open_artifact(self.root / name, step="gate")


@pytest.fixture
def candidates(small_dataset, tmp_path) -> Candidates:
    words = ["check-data", "--dataset", str(small_dataset), "--data-check", str(tmp_path / "data_check"), "--quiet"]
    assert CliRunner().invoke(main, words).exit_code == 0
    check = open_artifact(tmp_path / "data_check", step="check-data")
    return Candidates(tmp_path, open_artifact(small_dataset, step="convert"), check)


def test_a_service_that_is_well(candidates, small_log, tmp_path):
    shelf = Shelf(tmp_path / "service").require(create=True)
    parts = {"dataset": candidates.dataset, "data_check": candidates.data_check, "gate": candidates.gate("gate")}
    assert shelf.publish(parts, expected=None, keep=3) == 1
    before = time.time()
    result = health(tmp_path / "service", "--max-age-hours", YEARS, "--json")
    after = time.time()
    assert result.exit_code == 0, result.output
    found = findings(result)
    assert {name: finding["state"] for name, finding in found.items()} == dict.fromkeys(("version", "age", "refusals", "gaps"), "ok")
    options = pyarrow.csv.ReadOptions(autogenerate_column_names=True)
    last = pyarrow.csv.read_csv(small_log, options).columns[-1].to_numpy().max()
    assert before <= last + 3600 * found["age"]["value"] <= after  # the moment at which it was asked
    assert datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M") in found["age"]["text"]
    lines = health(tmp_path / "service", "--max-age-hours", YEARS).output.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in found]
    assert "version 1 is in service, published 0.0 hours ago" in lines[0]


def test_what_is_out_of_its_limit_ends_with_3(candidates, tmp_path):
    service = tmp_path / "service"
    shelf = Shelf(service).require(create=True)
    result = health(service)
    assert result.exit_code == 3
    assert "bad      version   nothing is in service" in result.output
    parts = {"dataset": candidates.dataset, "data_check": candidates.data_check, "gate": candidates.gate("gate")}
    shelf.refuse({"gate": candidates.gate("before", "users")}, keep=5)
    os.utime(service)
    description = next(service.glob("refused/*/version.json"))
    description.write_text(json.dumps({**json.loads(description.read_text()), "time": int(time.time()) - 100}))
    shelf.publish(parts, expected=None, keep=3)

    def bad(*limits: object) -> set[str]:
        result = health(service, "--json", *limits)
        found = {name for name, finding in findings(result).items() if finding["state"] == "bad"}
        assert result.exit_code == (3 if found else 0), result.output
        return found

    assert bad() == {"age"}  # the generated log is of 2017
    well = ("--max-age-hours", YEARS)
    assert bad(*well) == set()  # the candidate that was refused before this one was published does not count
    assert bad(*well, "--max-gap-hours", 0) == {"gaps"}
    shelf.refuse({"gate": candidates.gate("one", "recall")}, keep=5)
    assert bad(*well) == set()
    shelf.refuse({"gate": candidates.gate("two", "recall", "coverage")}, keep=5)
    assert bad(*well) == {"refusals"}
    assert bad(*well, "--max-refusals", 2) == set()
    text = findings(health(service, "--json"))["refusals"]["text"]
    assert text.startswith("2 candidates were refused since, the last one 0.0 hours ago for recall")
    (service / "versions" / "000001" / "gate" / "manifest.json").unlink()
    assert bad(*well, "--max-refusals", 2) == {"version"}


def test_a_version_that_was_published_before_there_were_checks(candidates, tmp_path):
    shelf = Shelf(tmp_path / "service").require(create=True)
    shelf.publish({"dataset": candidates.dataset}, expected=None, keep=3)
    description = tmp_path / "service" / "versions" / "000001" / "version.json"
    kept = json.loads(description.read_text())
    kept.pop("time")
    description.write_text(json.dumps(kept))
    result = health(tmp_path / "service", "--max-age-hours", YEARS)
    assert result.exit_code == 0, result.output
    assert "unknown  gaps      the version was published without a check of its data" in result.output
    assert "version 1 is in service\n" in result.output


def test_what_cannot_be_read_ends_with_1_and_a_line(candidates, tmp_path):
    for path, message in ((tmp_path / "nowhere", "there is no service in"), (candidates.root / "data_check", "there is no service in")):
        result = health(path)
        assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
        assert message in result.output
    shelf = Shelf(tmp_path / "service").require(create=True)
    shelf.publish({"dataset": candidates.dataset}, expected=None, keep=3)
    meta = tmp_path / "service" / "versions" / "000001" / "dataset" / "meta.json"
    meta.unlink()
    for content in (None, "[]", '{"time_range": [1e99, 2]}'):
        if content is not None:
            meta.write_text(content)
        result = health(tmp_path / "service")
        assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
        assert "meta.json" in result.output
