"""`gate` and `publish`: a candidate against what is in service, on the same users; the switch, and what is refused."""

import errno
import json
import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nann.artifacts import open_artifact
from nann.config import CheckDataConfig, GateConfig, InServiceConfig, PublishConfig
from nann.dataset import Dataset, Samples, load_items
from nann.errors import ArtifactError
from nann.evaluation.contestants import contestant
from nann.evaluation.gate import Measured, check_candidate
from nann.export import ConvertedModel
from nann.item_tables import ItemTables
from nann.service.shelf import Shelf
from nann.service.smoke import SmokeTest
from nann.service.store import Store
from nann.steps.check_data import check_data
from nann.steps.gate import gate
from nann.steps.in_service import in_service, read_version, taken_parts
from nann.steps.publish import publish
from pipelines.cli import main

# The scorer was never trained and the users are few: what depends on that is switched off.
CONFIG = GateConfig(
    k=20, max_users=12, min_users=10, latency_requests=3, min_coverage=0, max_latency_ratio=0, min_baseline_ratio=0, max_recall_loss=1
)
USERS = 2000
GOOD = Measured(
    hits=np.repeat([1.0, 0.0], USERS // 2), coverage=0.95, catalogue_coverage=0.5, category_excess=0.1, latency_ms=10, size_mb=20
)


def hits(found: int, users: int = USERS) -> np.ndarray:
    """Of users in an order, the first ones: models differ in as many users as their numbers do."""
    return np.concatenate([np.ones(found), np.zeros(users - found)])


def outcomes(candidate: dict, published: dict[str, dict], baseline: int | None = None, **bounds) -> dict:
    """(figure, against) -> outcome."""
    others = {name: replace(GOOD, **figures) for name, figures in published.items()}
    best = None if baseline is None else ("item_cf", hits(baseline))
    checks = check_candidate(replace(GOOD, **candidate), others, best, GateConfig(**bounds))
    return {(check.name, check.against): check.outcome for check in checks}


def test_bounds_are_relative_to_each_published_version():
    both = {"in_service": {}, "version 3": {}}
    assert set(outcomes({}, both).values()) == {"kept"}
    for figure, bad, good in (
        ("coverage", 0.93, 0.945),
        ("catalogue_coverage", 0.44, 0.46),
        ("latency_ms", 16, 14),
        ("size_mb", 41, 39),
    ):
        for against in both:
            assert outcomes({figure: bad}, both)[figure, against] == "broken"
            assert outcomes({figure: good}, both)[figure, against] == "kept"
    assert outcomes({"coverage": 0.93}, both, max_coverage_loss=0.03)["coverage", "in_service"] == "kept"
    assert ("latency_ms", "in_service") not in outcomes({"latency_ms": 99}, both, max_latency_ratio=0)


def test_recall_must_be_shown_to_be_within_the_margin():
    found = outcomes({"hits": hits(990)}, {"in_service": {"hits": hits(1000)}})
    assert found["recall_ratio", "in_service"] == "kept"
    found = outcomes({"hits": hits(900)}, {"in_service": {"hits": hits(1000)}})
    assert found["recall_ratio", "in_service"] == "broken"
    few = {"hits": hits(5, 10)}
    assert outcomes(few, {"in_service": few}, max_recall_loss=0)["recall_ratio", "in_service"] == "undecided"
    gain = {"in_service": {"hits": hits(1000)}}
    assert outcomes({"hits": hits(1020)}, gain, max_recall_loss=-0.05)["recall_ratio", "in_service"] == "broken"
    assert outcomes({"hits": hits(1100)}, gain, max_recall_loss=-0.05)["recall_ratio", "in_service"] == "kept"
    assert ("recall_ratio", "in_service") not in outcomes({"hits": hits(1)}, gain, max_recall_loss=1)


def test_small_losses_do_not_add_up():
    """Each is within the margin of the one before; the third is not within that of the first."""
    chain = [hits(1000), hits(980), hits(960)]
    assert outcomes({"hits": chain[2]}, {"in_service": {"hits": chain[1]}})["recall_ratio", "in_service"] == "kept"
    found = outcomes({"hits": chain[2]}, {"in_service": {"hits": chain[1]}, "version 1": {"hits": chain[0]}})
    assert found["recall_ratio", "version 1"] != "kept"
    assert found["recall_ratio", "in_service"] == "kept"


def test_the_first_candidate_has_absolute_bounds():
    kept = outcomes({}, {}, baseline=800)
    assert set(kept.values()) == {"kept"}
    assert set(kept) == {
        *((name, None) for name in ("users", "recall", "coverage", "catalogue_coverage", "category_excess")),
        ("recall_ratio", "item_cf"),
    }
    assert outcomes({}, {}, baseline=1100)["recall_ratio", "item_cf"] == "broken"
    assert outcomes({}, {}, baseline=1000)["recall_ratio", "item_cf"] == "undecided"
    assert outcomes({"hits": hits(50, 99)}, {})["users", None] == "broken"
    assert outcomes({"coverage": 0.8}, {})["coverage", None] == "broken"
    assert outcomes({"catalogue_coverage": 0.01}, {})["catalogue_coverage", None] == "broken"
    assert outcomes({"category_excess": 0.4}, {})["category_excess", None] == "broken"
    assert outcomes({}, {}, min_recall=0.6)["recall", None] == "broken"
    assert outcomes({}, {}, max_latency_ms=5.0)["latency_ms", None] == "broken"
    assert outcomes({}, {}, max_size_mb=19)["size_mb", None] == "broken"
    assert outcomes({"coverage": float("nan")}, {})["coverage", None] == "broken"


def test_histories_as_the_model_in_service_sees_them(untrained_run):
    """Rows it does not know are left out and what is left moves up, with its times; what comes after its catalogue is unknown."""
    dataset = untrained_run.artifacts["dataset"]
    histories = np.array([[5, 9999, 7, 9998, 0], [9999, 0, 0, 0, 0]], np.int32)
    inputs = {"time": np.array([[11, 12, 13, 14, 0], [15, 0, 0, 0, 0]]), "age": np.array([[2], [1]])}
    samples = Samples(histories, np.array([1, 2], np.int32), np.array([1, 2]), inputs=inputs)
    model = ConvertedModel(Path("model"))
    model.inputs = {"time": {"side": "history"}, "age": {"side": "user"}}
    seen = contestant(model, None, 0, samples, load_items(dataset).category_rows)
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
    check_data(dataset=dataset, data_check=root / "data_check", config=CheckDataConfig())
    common = {"dataset": dataset, "converted_model": untrained_run.converted_model}
    gate(**common, in_service=root / "in_service", gate=root / "gate", config=CONFIG)
    found = publish(
        **common,
        model=model,
        index=untrained_run.artifacts["index"],
        data_check=root / "data_check",
        service=str(root / "service"),
        gate=root / "gate",
        publication=root / "publication",
        config=PublishConfig(),
    )
    assert found.metrics == {"published": 1, "version": 1}
    return root


def test_the_first_candidate_is_in_service_whole(published, untrained_run):
    version = published / "service" / "versions" / "000001"
    parts = {
        "dataset": "convert",
        "data_check": "check-data",
        "model": "train",
        "index": "build-index",
        "converted_model": "rewrite",
        "gate": "gate",
    }
    for name, step in parts.items():
        open_artifact(version / name, step=step)
    assert json.loads((published / "gate" / "gate.json").read_text())["version_in_service"] is None


def run_again(published: Path, untrained_run, root: Path, config: GateConfig) -> dict:
    """The same candidate's files under another gate: compared with itself, which is in service."""
    in_service(service=str(published / "service"), in_service=root / "in_service", config=InServiceConfig())
    common = {"dataset": untrained_run.artifacts["dataset"], "converted_model": untrained_run.converted_model}
    gate(**common, in_service=root / "in_service", gate=root / "gate", config=config)
    more = {name: untrained_run.artifacts[name] for name in ("model", "index")} | {"data_check": published / "data_check"}
    return {**common, **more, "gate": root / "gate", "service": str(published / "service")}


def test_a_model_that_was_never_trained_is_refused_by_the_command(published, untrained_run, tmp_path):
    """With the bounds as they are: it is below the best simple method, and the validation users are few."""
    words = ["gate", "--gate", tmp_path / "gate", "--in-service", published / "in_service", "--dataset", untrained_run.artifacts["dataset"]]
    words += ["--converted-model", untrained_run.converted_model, "--k", 20, "--latency-requests", 3, "--quiet"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "gate" / "gate.json").read_text())
    assert not found["passed"]
    outcomes = {(check["name"], check["against"]): check["outcome"] for check in found["checks"]}
    best = found["best_baseline"]["name"]
    assert outcomes["recall_ratio", best] == "broken"
    assert outcomes["users", None] == "broken"
    assert f"ratio of recalls that is shown against {best.replace('_', ' ')}" in (tmp_path / "gate" / "report.html").read_text()


def test_a_model_compared_with_itself_is_as_good(published, untrained_run, tmp_path):
    candidate = run_again(published, untrained_run, tmp_path, CONFIG)
    result = json.loads((tmp_path / "gate" / "gate.json").read_text())
    assert result["passed"]
    assert result["version_in_service"] == 1
    one, other = (result["figures"][name] for name in ("candidate", "in_service"))
    assert (one["recall"], one["coverage"]) == (other["recall"], other["coverage"])
    assert (result["users"], result["split"]) == (12, "validate")
    assert "Refused" not in (tmp_path / "gate" / "report.html").read_text()
    found = publish(**candidate, publication=tmp_path / "publication", config=PublishConfig())
    assert found.metrics["version"] == 2
    again = publish(**candidate, publication=tmp_path / "another", config=PublishConfig(smoke_users=0))
    assert again.metrics["version"] == 2  # as after a kill between the switch and the end of the step
    run_again(published, untrained_run, tmp_path / "third", CONFIG)  # version 1 was in service before
    result = json.loads((tmp_path / "third" / "gate" / "gate.json").read_text())
    assert {name: result["figures"][name]["recall"] for name in ("in_service", "version 1")} == dict.fromkeys(
        ("in_service", "version 1"), one["recall"]
    )
    assert {check["against"] for check in result["checks"]} == {None, "in_service", "version 1"}
    assert "version 1" in (tmp_path / "third" / "gate" / "report.html").read_text()
    damaged = published / "service" / "versions" / "000001" / "converted_model" / "frozen_graph.pb"
    damaged.rename(tmp_path / "kept")
    words = ["in-service", "--service", published / "service", "--in-service", tmp_path / "fourth", "--quiet"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 1
    assert "error: version 1, which was in service before, cannot be taken: " in result.output
    assert "--earlier 0" in result.output
    result = CliRunner().invoke(main, [*map(str, words), "--earlier", "0"])
    assert result.exit_code == 0, result.output
    (tmp_path / "kept").rename(damaged)
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


def test_a_published_version_that_does_not_work_is_withdrawn(published, untrained_run, tmp_path, monkeypatch):
    """A storage that loses the end of a file: what was in service before is so again, and the same command publishes later."""
    candidate = run_again(published, untrained_run, tmp_path, CONFIG)
    service = published / "service"
    words = ["publish", "--output-root", tmp_path, "--quiet", *("--service", service), "--data-check", candidate["data_check"]]
    words += [f"--{name.replace('_', '-')}={candidate[name]}" for name in ("dataset", "converted_model", "model", "index")]

    def lossy(store, source, name):
        put_tree(store, source, name)
        for path in Path(store.place(name)).rglob("variables.data-*"):
            content = path.read_bytes()
            path.unlink()  # a link to the candidate's
            path.write_bytes(content[:-1] + b"?")

    def refuse_to_write(shelf, version):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "current.json")

    put_tree, before = Store.put_tree, Shelf(service).pointer()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_tree", lossy)
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 1
        number = before.last + 1
        patch.setattr(Shelf, "withdraw", refuse_to_write)
        shutil.copytree(service, tmp_path / "another")
        result_of_another = CliRunner().invoke(main, [str(tmp_path / "another") if word == service else str(word) for word in words])
    assert "does not work for its readers: " in result_of_another.output
    assert "; it could not be withdrawn either: [Errno 30] Read-only file system: 'current.json'; see to the" in result_of_another.output
    assert f"error: version {number} was published and does not work for its readers: " in result.output
    assert f"It was withdrawn, version {before.version} is in service" in result.output
    assert Shelf(service).pointer() == replace(before, last=number)
    assert not (service / "versions" / f"{number:06d}").exists()
    assert not (tmp_path / "publication").exists()
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert Shelf(service).pointer().version == number + 1
    shutil.rmtree(tmp_path / "publication")
    Shelf(service).rollback(before.version)


def test_other_lists_than_the_candidates_are_seen(published, untrained_run, untrained_string_run, tmp_path):
    shelf = Shelf(published / "service")
    samples = Dataset(untrained_run.artifacts["dataset"]).samples("validate").draw(5, seed=1)
    SmokeTest(untrained_run.converted_model, samples).look_at(shelf, 1)
    remote = Shelf(f"ram://smoke-{uuid.uuid4()}").require(create=True)
    remote.publish({"converted_model": open_artifact(untrained_run.converted_model, step="rewrite")}, expected=None, keep=2)
    tables = ItemTables(load_items(untrained_run.artifacts["dataset"]).item_ids[1:3], np.array([False, True]), np.zeros(2, np.float32))
    tables.write(tmp_path / "tables.parquet")
    remote.publish_item_tables(tmp_path / "tables.parquet", keep=2)
    SmokeTest(untrained_run.converted_model, samples).look_at(remote, 1)
    test = SmokeTest(untrained_string_run.converted_model, samples)
    with pytest.raises(ArtifactError, match=r"version 1 answers [1-5] of 5 users with other lists than the candidate did"):
        test.look_at(shelf, 1)
    with pytest.raises(ArtifactError, match=r"version 1 is in service in .*, not 7"):
        test.look_at(shelf, 7)


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
            data_check=published / "data_check",
            model=untrained_string_run.artifacts["model"],
            index=untrained_string_run.artifacts["index"],
            gate=published / "gate",
            service=str(published / "service"),
            publication=tmp_path / "publication",
            config=PublishConfig(),
        )


def test_a_version_from_before_there_were_checks_is_taken_without_one(untrained_run, tmp_path):
    steps = {"dataset": "convert", "model": "train", "converted_model": "rewrite"}
    paths = {**untrained_run.artifacts, "converted_model": untrained_run.converted_model}
    shelf = Shelf(tmp_path / "service").require(create=True)
    shelf.publish({name: open_artifact(paths[name], step=step) for name, step in steps.items()}, expected=None, keep=2)
    in_service(service=str(tmp_path / "service"), in_service=tmp_path / "in_service", config=InServiceConfig())
    assert set(taken_parts(tmp_path / "in_service")) == set(steps)


def test_a_run_goes_on_against_the_version_it_began_with(published, tmp_path):
    first = in_service(service=str(published / "service"), in_service=tmp_path / "in_service", config=InServiceConfig())
    again = in_service(service=str(tmp_path / "another service"), in_service=tmp_path / "in_service", config=InServiceConfig(create=True))
    assert again.reused
    assert again.metrics == first.metrics
