"""Schedules on a server: made once, replaced when they differ without losing their history, paused, and what they run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.api_server import Server
from pipelines.cluster import Cluster
from pipelines.compilation import cluster_spec
from pipelines.profiles import read_profile
from pipelines.schedules import DIRECTORY, EARLIER_IDS, ScheduleOutcome, Source, all_ids, plan_schedule, put_schedule, read_schedule
from pipelines.uploads import server_name, upload_pipeline

Nann = Callable[..., Result]
SPEC = {"pipelineInfo": {"name": "nann-training"}}  # the server compiles it; here it is only kept


def cluster(stub: Any) -> Cluster:
    return Cluster(Server(host=stub.url, timeout_seconds=30, retry_seconds=0.01))


def schedule_file(path: Path, document: str = "embedded", cron: str = "0 30 2 * * *", more: str = "") -> Path:
    path.write_text(f"cron: '{cron}'\nprofile: cpu\ndocument: {document}\nparameters: {{inputs: [/mnt/log.csv]{more}}}\n")
    return path


def test_a_schedule_is_made_once_and_replaced_when_it_differs(any_stub: Any) -> None:
    server, (name, schedule) = cluster(any_stub), read_schedule("nightly-training")
    source = Source(spec=cluster_spec("training", read_profile("cpu")))
    first = put_schedule(server, name, schedule, source)
    assert first.action == "created"
    [made] = any_stub.recurring
    assert made.trigger.cron_schedule.cron == "0 30 2 * * *"
    assert (made.no_catchup, made.max_concurrency, made.mode) == (True, "1", "ENABLE")
    assert made.runtime_config.parameters["inputs"] == ["/mnt/nann/logs/last-7-days.parquet"]
    assert put_schedule(server, name, schedule, source) == ScheduleOutcome("unchanged", first.recurring_run_id)
    changed = put_schedule(server, name, schedule.model_copy(update={"window_days": 14}), source)
    assert changed.action == "replaced"
    assert [found.recurring_run_id for found in any_stub.recurring] == [changed.recurring_run_id]


def test_replacing_a_schedule_leaves_its_runs_alone_and_its_history_whole(any_stub: Any, nann: Nann, tmp_path: Path) -> None:
    file = schedule_file(tmp_path / "nightly.yaml")
    assert nann(any_stub, "schedule", file).exit_code == 0
    running = any_stub.fire(any_stub.recurring[0].recurring_run_id)
    for hour in (3, 4):
        assert "replaced" in nann(any_stub, "schedule", schedule_file(file, cron=f"0 30 {hour} * * *")).stdout
        any_stub.fire(any_stub.recurring[0].recurring_run_id, state="SUCCEEDED")
    assert running.state == "RUNNING"
    assert len(any_stub.recurring) == 1
    assert len({run.recurring_run_id for run in any_stub.runs}) == 3
    any_stub.add_run("SUCCEEDED", run_id="run-by-hand")
    listed = json.loads(nann(any_stub, "list", "--schedule", "nightly", "--json").stdout)
    assert [run["run_id"] for run in listed] == ["run-2", "run-1", "run-0"]
    assert [run["state"] for run in listed] == ["SUCCEEDED", "SUCCEEDED", "RUNNING"]
    assert nann(any_stub, "unschedule", "nightly").stdout == "nightly: 1 deleted\n"
    assert running.state == "RUNNING"


@given(count=st.integers(min_value=0, max_value=3 * EARLIER_IDS))
@settings(deadline=None, max_examples=20)
def test_the_history_has_the_newest_ids_and_a_limit(count: int) -> None:
    class Server:
        """Keeps recurring runs as the server does; counted ids."""

        def __init__(self) -> None:
            self.there: list[Any] = []
            self.number = 0

        def schedules(self, name: str) -> list[Any]:
            return list(self.there)

        def experiment(self, name: str, *, create: bool) -> str:
            return "experiment"

        def create_schedule(self, body: Any) -> str:
            body.recurring_run_id, body.status = f"id-{self.number}", "ENABLED"
            self.number += 1
            self.there.append(body)
            return str(body.recurring_run_id)

        def delete_schedule(self, recurring_run_id: str) -> None:
            self.there = [found for found in self.there if found.recurring_run_id != recurring_run_id]

    server: Any = Server()
    _, schedule = read_schedule("nightly-training")
    for number in range(count + 1):
        put_schedule(server, "x", schedule.model_copy(update={"window_days": number + 1}), Source(spec=SPEC))
    first = max(0, count - EARLIER_IDS)
    assert list(all_ids(server.there)) == [f"id-{number}" for number in range(first, count + 1)]


def test_a_paused_schedule_stays_paused_when_it_is_replaced(any_stub: Any, nann: Nann, tmp_path: Path) -> None:
    file = schedule_file(tmp_path / "nightly.yaml")
    assert nann(any_stub, "pause", "nightly").exit_code == 1
    nann(any_stub, "schedule", file)
    assert nann(any_stub, "pause", "nightly").stdout == "nightly paused\n"
    assert any_stub.recurring[0].status == "DISABLED"
    again = nann(any_stub, "schedule", file)
    assert "unchanged" in again.stdout
    assert "nightly is paused; `nann pipeline resume nightly` lets it start runs again" in again.stdout
    assert "is paused" in nann(any_stub, "schedule", schedule_file(file, cron="0 0 5 * * *")).stdout
    assert [found.status for found in any_stub.recurring] == ["DISABLED"]
    assert "DISABLED" in nann(any_stub, "list", "--schedules").stdout
    assert nann(any_stub, "resume", "nightly").stdout == "nightly resumed\n"
    assert any_stub.recurring[0].status == "ENABLED"
    assert "paused" not in nann(any_stub, "schedule", file).stdout


def test_what_its_file_has_off_is_not_paused(stub: Any) -> None:
    server, (_, schedule) = cluster(stub), read_schedule("nightly-training")
    off = schedule.model_copy(update={"enabled": False})
    assert put_schedule(server, "x", off, Source(spec=SPEC)).paused is False
    assert stub.recurring[0].status == "DISABLED"
    assert put_schedule(server, "x", schedule, Source(spec=SPEC)).paused is False
    assert [found.status for found in stub.recurring] == ["ENABLED"]


def test_a_preview_says_what_would_change_and_changes_nothing(any_stub: Any, nann: Nann, tmp_path: Path) -> None:
    file = schedule_file(tmp_path / "nightly.yaml")
    assert "nightly would be created" in nann(any_stub, "schedule", file, "--preview").stdout
    assert any_stub.recurring == []
    assert any_stub.experiments == []
    nann(any_stub, "schedule", file)
    assert "nightly is as in its file" in nann(any_stub, "schedule", file, "--preview").stdout
    before = [request for request in any_stub.requests if request[0] != "GET"]
    schedule_file(file, cron="0 0 5 * * *", more=", overwrite: true, train_config: {epochs: 2}")
    shown = nann(any_stub, "schedule", file, "--preview").stdout.splitlines()[3:]
    assert shown == [
        "nightly would be replaced",
        "  cron: '0 30 2 * * *' -> '0 0 5 * * *'",
        "  parameters.overwrite: (default) -> True",
        "  parameters.train_config.epochs: (default) -> 2",
    ]
    assert [request for request in any_stub.requests if request[0] != "GET"] == before


def test_a_preview_says_that_the_pipeline_is_another_one(stub: Any) -> None:
    server, (_, schedule) = cluster(stub), read_schedule("nightly-training")
    put_schedule(server, "x", schedule, Source(spec=SPEC))
    other = plan_schedule(server, "x", schedule, Source(spec={**SPEC, "schemaVersion": "2"}))
    assert other.changes == ("document: the pipeline is compiled from other sources, or with another profile",)
    newest = plan_schedule(server, "x", schedule.model_copy(update={"document": "newest"}), Source(pipeline_id="p"))
    assert newest.changes == ("document: 'embedded' -> 'newest'",)


def test_a_schedule_follows_the_newest_version_that_was_uploaded(any_stub: Any, nann: Nann, tmp_path: Path) -> None:
    file = schedule_file(tmp_path / "nightly.yaml", document="newest")
    first = nann(any_stub, "schedule", file)
    assert first.exit_code == 0, first.output
    assert "pipeline nann-training-cpu: created, " in first.stdout
    [pipeline], [version], [made] = any_stub.pipelines, any_stub.versions, any_stub.recurring
    assert made.pipeline_spec is None
    assert made.pipeline_version_reference.pipeline_id == pipeline.pipeline_id
    assert made.pipeline_version_reference.pipeline_version_id is None
    assert version.pipeline_spec["pipeline_spec"]["pipelineInfo"]["name"] == "nann-training"
    assert any_stub.fire(made.recurring_run_id).pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    # The same again: nothing is uploaded, nothing replaced.
    again = nann(any_stub, "schedule", file)
    assert "pipeline nann-training-cpu" not in again.stdout
    assert "nightly unchanged" in again.stdout
    # A change of the sources: one upload, and the schedule runs it without having been touched.
    assert nann(any_stub, "upload", "--pipeline", "training", "--profile", "cpu").stdout.startswith("nann-training-cpu: unchanged")
    upload_pipeline(cluster(any_stub), "nann-training-cpu", json.dumps({"pipelineInfo": {"name": "nann-training"}, "schemaVersion": "9"}))
    assert len(any_stub.versions) == 2
    assert any_stub.fire(made.recurring_run_id).pipeline_version_reference.pipeline_version_id == any_stub.versions[1].pipeline_version_id
    assert [found.recurring_run_id for found in any_stub.recurring] == [made.recurring_run_id]
    # Its runs are runs of the pipeline, though the server gives no document of theirs.
    newest = any_stub.runs[-1].run_id
    listed = json.loads(nann(any_stub, "list", "--pipeline", "training", "--json").stdout)
    assert (listed[0]["run_id"], listed[0]["pipeline"]) == (newest, "nann-training-cpu")
    assert json.loads(nann(any_stub, "status", "--pipeline", "training", "--json").stdout)["run_id"] == newest
    assert json.loads(nann(any_stub, "status", newest, "--json").stdout)["pipeline"] == "nann-training-cpu"
    assert "there is no run of the pipeline nann-retraining" in nann(any_stub, "status", "--pipeline", "retraining").stderr
    assert nann(any_stub, "unschedule", "nightly", "--pipeline", "retraining").stdout == "nightly: was not there\n"
    assert nann(any_stub, "unschedule", "nightly", "--pipeline", "training").stdout == "nightly: 1 deleted\n"


def test_a_document_that_comes_back_is_the_newest_version_again(any_stub: Any) -> None:
    server = cluster(any_stub)
    texts = [json.dumps({"pipelineInfo": {"name": "x"}, "schemaVersion": str(number)}) for number in range(2)]
    actions = [upload_pipeline(server, "x", text).action for text in (texts[0], texts[0], texts[1])]
    assert actions == ["created", "unchanged", "new version"]
    would = upload_pipeline(server, "x", texts[0], dry_run=True)
    assert (would.action, len(any_stub.versions)) == ("new version", 2)


@pytest.mark.parametrize("multi_user", [False, True])
def test_uploaded_pipelines_belong_to_a_namespace_where_there_are_several_users(stub: Any, multi_user: bool) -> None:
    stub.multi_user = multi_user
    upload_pipeline(cluster(stub), "x", json.dumps(SPEC))
    assert stub.pipelines[0].namespace == ("kubeflow" if multi_user else None)
    listing = [query for request, query in zip(stub.requests, stub.queries, strict=True) if request == ("GET", "/apis/v2beta1/pipelines")]
    assert [query.get("namespace") for query in listing] == [["kubeflow"] if multi_user else None]


def test_an_upload_can_be_tried_without_doing_it(any_stub: Any, nann: Nann) -> None:
    result = nann(any_stub, "upload", "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("nann-training-cpu: created (not done), ")
    assert any_stub.pipelines == []
    assert server_name("retraining", "my/own.yaml") == "nann-retraining-own"


def test_schedule_and_unschedule_commands(any_stub: Any, nann: Nann) -> None:
    dry = nann(any_stub, "schedule", "nightly-training", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert dry.stdout.count("02:30:00 UTC, ") == 3
    assert any_stub.requests == []
    assert "created" in nann(any_stub, "schedule", "nightly-training").stdout
    assert "unchanged" in nann(any_stub, "schedule", "nightly-training").stdout
    listed = json.loads(nann(any_stub, "list", "--schedules", "--json").stdout)
    assert [(entry["name"], entry["status"], entry["cron"]) for entry in listed] == [("nightly-training", "ENABLED", "0 30 2 * * *")]
    other = nann(any_stub, "unschedule", "nightly-training", "--pipeline", "retraining")
    assert other.stdout == "nightly-training: was not there\n"
    assert nann(any_stub, "unschedule", "nightly-training", "--pipeline", "training").stdout == "nightly-training: 1 deleted\n"
    assert nann(any_stub, "unschedule", "nightly-training").stdout == "nightly-training: was not there\n"


@pytest.mark.parametrize("name", sorted(path.stem for path in DIRECTORY.glob("*.yaml")))
def test_the_schedules_that_are_here_fit_their_pipelines(stub: Any, nann: Nann, name: str) -> None:
    result = nann(stub, "schedule", name, "--dry-run")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 3


def test_bad_schedules_are_refused(stub: Any, nann: Nann, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("cron: '30 2 * * *'\n")
    result = nann(stub, "schedule", path)
    assert result.exit_code == 1
    assert "has 5 fields, but needs 6" in result.stderr
    for parameters, message in (
        ("{input: [a]}", "the pipeline training has no parameter 'input'; known: benchmark_config, "),
        ("{}", "the pipeline training needs the parameter 'inputs'"),
        ("{inputs: [a], train_config: {epoch: 1}}", "train.epoch: no such option"),
    ):
        path.write_text(f"cron: '0 30 2 * * *'\nparameters: {parameters}\n")
        assert message in nann(stub, "schedule", path).stderr
    path.write_text("cron: '0 30 2 * * *'\ndocument: latest\n")
    assert "document" in nann(stub, "schedule", path).stderr
    assert stub.requests == []
    assert "known: daily-retraining, nightly-training, or" in nann(stub, "schedule", "none").stderr


@pytest.mark.parametrize("command", ["pause", "resume", "unschedule"])
def test_an_empty_name_is_not_every_schedule(stub: Any, nann: Nann, tmp_path: Path, command: str) -> None:
    """As a shell makes it of a variable that is not set."""
    assert nann(stub, "schedule", schedule_file(tmp_path / "nightly.yaml")).exit_code == 0
    result = nann(stub, command, "")
    assert result.exit_code == 2
    assert "NAME" in result.stderr
    assert [found.status for found in stub.recurring] == ["ENABLED"]


def test_the_runs_of_a_schedule_that_is_not_there_are_no_empty_list(stub: Any, nann: Nann) -> None:
    stub.add_run("SUCCEEDED")
    result = nann(stub, "list", "--schedule", "typo")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the server has no schedule 'typo'; `nann pipeline list --schedules` lists them" in result.stderr


@pytest.mark.parametrize("content", [b"", b"- a\n", b"\xff\xfe"])
def test_a_file_that_holds_something_else_is_no_schedule(stub: Any, nann: Nann, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "nightly.yaml"
    file.write_bytes(content)
    result = nann(stub, "schedule", file, "--dry-run")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {file} is no")
    assert "argument after" not in result.stderr


def test_a_misspelt_window_is_not_sent_as_it_stands(stub: Any, nann: Nann, tmp_path: Path) -> None:
    file = schedule_file(tmp_path / "nightly.yaml", more=", service: '/mnt/{windw_days}'")
    result = nann(stub, "schedule", file, "--dry-run")
    assert result.exit_code == 1
    assert "'{windw_days}'" in result.stderr
    assert "{window_days}" in result.stderr


def test_an_old_schedule_that_cannot_be_deleted_is_told_with_the_new_one(stub: Any, nann: Nann, tmp_path: Path) -> None:
    """Both would start runs."""
    file = tmp_path / "nightly.yaml"
    assert nann(stub, "schedule", schedule_file(file)).exit_code == 0
    schedule_file(file, cron="0 30 3 * * *")

    def refuse(handler: Any) -> None:
        handler._write(403, {"code": 7, "message": "you may not delete"})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stub.module.Handler, "do_DELETE", refuse)
        result = nann(stub, "schedule", file)
    old, new = (found.recurring_run_id for found in stub.recurring)
    assert result.exit_code == 1
    assert f"{new} is there, but {old}, which it replaces, is there too, and both may start runs" in result.stderr
    assert "you may not delete" in result.stderr
    assert f"  {old} would be deleted\n" in nann(stub, "schedule", file, "--preview").stdout
    assert nann(stub, "schedule", file).exit_code == 0
    assert [found.recurring_run_id for found in stub.recurring] == [new]
