"""The facts about the API server that the stand-in is built from, one test each, with the file of kubeflow/pipelines it was read in."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest


def ask(stub: Any, path: str, method: str = "GET", body: Any = None) -> tuple[int, str, Any]:
    """Status, content type and body, parsed when it is JSON."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{stub.url}{path}", method=method, data=data)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            status, kind, content = answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        status, kind, content = error.code, error.headers["content-type"], error.read().decode()
    return status, kind, json.loads(content) if content.startswith("{") else content


@pytest.mark.parametrize(
    "path",
    [
        "/apis/v2beta1/runs/run-x/nodes/POD/log",  # never a route of these generations
        "/apis/v1beta1/runs/run-x/nodes/POD/log",
        "/apis/v2beta1/runs/run-x/log",
        "/apis/v2beta1/logs",
        "/apis/v2/runs/run-x",
        "/apis/v3/runs",
        "/runs",
        "/",
    ],
)
def test_only_registered_routes_are_answered(stub: Any, path: str) -> None:
    """backend/src/apiserver/main.go, startHTTPProxy: all routes; the one for logs is under v1alpha1."""
    stub.add_run("SUCCEEDED", convert="Succeeded")
    pod = stub.pod("run-x", "convert").name
    assert ask(stub, path.replace("POD", pod))[0] == 404
    assert ask(stub, f"/apis/v1alpha1/runs/run-x/nodes/{pod}/log")[0] == 200


def test_the_api_called_v2_has_its_old_name_still_but_no_v1(any_stub: Any) -> None:
    """backend/src/apiserver/main.go (buildHTTPRouter) and api_compat.go (legacyAPIHandler) of the master with api/v2."""
    any_stub.add_run("SUCCEEDED", convert="Succeeded")
    log = f"runs/run-x/nodes/{any_stub.pod('run-x', 'convert').name}/log"
    status = {prefix: ask(any_stub, f"/apis/{prefix}/{log}")[0] for prefix in ("v1alpha1", "v2beta1", "v2")}
    runs = {prefix: ask(any_stub, f"/apis/{prefix}/runs/run-x")[0] for prefix in ("v1beta1", "v2beta1", "v2")}
    if any_stub.generation == "v2":
        assert status == {"v1alpha1": 404, "v2beta1": 200, "v2": 200}
        assert runs == {"v1beta1": 404, "v2beta1": 200, "v2": 200}
    else:
        assert status == {"v1alpha1": 200, "v2beta1": 404, "v2": 404}
        assert runs == {"v1beta1": 200, "v2beta1": 200, "v2": 404}


def test_logs_are_asked_for_by_the_name_of_the_pod(any_stub: Any) -> None:
    """backend/src/apiserver/resource/resource_manager.go, readRunLogFromPod: PodClient.GetLogs of the path's node, container main."""
    any_stub.add_run("SUCCEEDED", convert="Succeeded")
    pod = any_stub.pod("run-x", "convert")
    prefix = "v2" if any_stub.generation == "v2" else "v1alpha1"
    assert ask(any_stub, f"/apis/{prefix}/runs/run-x/nodes/{pod.name}/log")[2] == "convert executor 1\n"
    assert "error_message" in ask(any_stub, f"/apis/{prefix}/runs/run-x/nodes/{pod.node_id}/log")[2]


def test_a_failed_read_of_a_log_comes_with_status_200(stub: Any) -> None:
    """backend/src/apiserver/server/run_log_server.go of 2.17: WriteHeader(200) before ReadLog, then the error as JSON."""
    stub.add_run("SUCCEEDED", convert="Succeeded")
    status, _, body = ask(stub, "/apis/v1alpha1/runs/run-x/nodes/gone/log")
    assert status == 200
    assert set(body) == {"error_message", "error_details"}


def test_a_failed_read_of_a_log_comes_with_status_500_later(newer_stub: Any) -> None:
    """backend/src/apiserver/server/run_log_server.go after 2.17: no status is written before the first byte of the log."""
    newer_stub.add_run("SUCCEEDED", convert="Succeeded")
    prefix = "v2" if newer_stub.generation == "v2" else "v1alpha1"
    status, _, body = ask(newer_stub, f"/apis/{prefix}/runs/run-x/nodes/gone/log")
    assert status == 500
    assert set(body) == {"error_message", "error_details"}


def test_the_archive_is_asked_by_the_id_of_the_node(any_stub: Any) -> None:
    """backend/src/common/util/workflow.go, FindObjectStoreArtifactKeyOrEmpty: by node id; since after 2.17 by the pod's name too."""
    any_stub.add_run("SUCCEEDED", convert="Succeeded")
    pod = any_stub.pod("run-x", "convert")
    any_stub.logs, any_stub.archive = {}, {pod.node_id: "archived\n"}
    prefix = "v2" if any_stub.generation == "v2" else "v1alpha1"
    assert ask(any_stub, f"/apis/{prefix}/runs/run-x/nodes/{pod.node_id}/log")[2] == "archived\n"
    by_name = ask(any_stub, f"/apis/{prefix}/runs/run-x/nodes/{pod.name}/log")[2]
    assert (by_name == "archived\n") == (any_stub.generation != "2.17")


def test_2_17_promises_pods_and_gives_ids_of_nodes(stub: Any) -> None:
    """backend/src/apiserver/server/api_converter.go, toApiPipelineTaskDetail: child_tasks are node.Children."""
    stub.add_run("SUCCEEDED", convert="Succeeded")
    workflow = stub.workflows["run-x"]
    details = {task["display_name"]: task for task in ask(stub, "/apis/v2beta1/runs/run-x")[2]["run_details"]["task_details"]}
    assert not any("pod_name" in task for task in details.values())
    children = {child["pod_name"] for task in details.values() for child in task["child_tasks"]}
    assert children
    assert children <= set(workflow.nodes)
    assert not children & set(workflow.pods)


def test_the_child_of_a_retried_step_is_no_pod(stub: Any) -> None:
    """backend/src/v2/compiler/argocompiler/container.go: the executor has a retryStrategy, so Argo puts a Retry node above its attempts."""
    stub.add_run("SUCCEEDED", train="retry Failed Succeeded")
    workflow = stub.workflows["run-x"]
    [step] = [node for node in workflow.nodes.values() if node["displayName"] == "train"]
    [child] = step["children"]
    assert workflow.nodes[child]["type"] == "Retry"
    attempts = [workflow.nodes[one] for one in workflow.nodes[child]["children"]]
    assert [(node["type"], node["displayName"]) for node in attempts] == [("Pod", "executor(0)"), ("Pod", "executor(1)")]
    assert {node["templateName"] for node in attempts} == {"retry-system-container-impl"}


def test_the_children_of_an_attempt_are_what_follows_the_step(stub: Any) -> None:
    """Argo's DAGs; seen in the recorded answer of a 2.16 server: cpu-p01-run-2.16.json of zhangzhe-ctrl/ani-modeldev-service."""
    stub.add_run("FAILED", convert="retry Succeeded", train="Failed", extract="omitted")
    nodes = {node["name"].rpartition("exit-handler-1.")[2]: node for node in stub.workflows["run-x"].nodes.values()}
    names = {node["id"]: name for name, node in nodes.items()}
    children = {name: [names[child] for child in node["children"]] for name, node in nodes.items()}
    assert children["convert-driver"] == ["convert"]
    assert children["convert"] == ["convert.executor"]
    assert children["convert.executor"] == ["convert.executor(0)"]
    assert children["convert.executor(0)"] == ["train-driver"]
    assert children["train.executor"] == ["extract-driver"]


def test_a_cached_step_has_no_pod(any_stub: Any) -> None:
    """container.go: the executor runs only when `cached-decision` is not true; run.proto: PipelineTask.TaskState CACHED."""
    any_stub.add_run("SUCCEEDED", convert="cached")
    workflow = any_stub.workflows["run-x"]
    [executor] = [node for node in workflow.nodes.values() if node["name"].endswith("exit-handler-1.convert.executor")]
    assert (executor["type"], executor["phase"]) == ("Skipped", "Skipped")
    assert [pod.kind for pod in workflow.pods.values() if pod.task == "convert"] == ["driver"]
    answer = ask(any_stub, "/apis/v2beta1/runs/run-x?view=FULL")[2]
    if any_stub.generation == "2.17":
        assert [task["state"] for task in answer["run_details"]["task_details"] if task["display_name"] == "convert"] == ["SUCCEEDED"]
    else:
        assert [task["state"] for task in answer["tasks"] if task["name"] == "convert"] == ["CACHED"]


def test_a_step_behind_a_failed_one_has_no_state(stub: Any) -> None:
    """backend/src/apiserver/model/run.go, RuntimeState: it does not know the phase Omitted, and JSON leaves unspecified states out."""
    stub.add_run("FAILED", convert="Failed", train="omitted")
    details = ask(stub, "/apis/v2beta1/runs/run-x")[2]["run_details"]["task_details"]
    assert ["state" in task for task in details if task["display_name"] == "train"] == [False]


def test_an_unfinished_task_ends_in_the_year_one(stub: Any) -> None:
    """workflow.go, NodeStatuses: FinishedAt.Unix() of a zero time, which api_converter.go hands on as a timestamp."""
    stub.add_run("RUNNING", train="Running")
    details = ask(stub, "/apis/v2beta1/runs/run-x")[2]["run_details"]["task_details"]
    assert [task["end_time"] for task in details if task["display_name"] == "train"] == ["0001-01-01T00:00:00Z"]


def test_an_unfinished_run_ends_in_1970(any_stub: Any) -> None:
    """api_converter.go, toApiRun: time.Unix of a FinishedAtInSec that is 0."""
    any_stub.add_run("RUNNING", train="Running")
    assert ask(any_stub, "/apis/v2beta1/runs/run-x")[2]["finished_at"] == "1970-01-01T00:00:00Z"


def test_a_run_of_an_uploaded_version_has_no_document(any_stub: Any) -> None:
    """api_converter.go, toApiRun: pipeline_source is one of reference and document, and the reference goes first."""
    any_stub.pipelines.append(any_stub.module.api.V2beta1Pipeline(pipeline_id="p", name="nann-training-cpu"))
    any_stub.versions.append(
        any_stub.module.api.V2beta1PipelineVersion("p", "v", pipeline_spec={"pipelineInfo": {"name": "nann-training"}})
    )
    body = {"display_name": "x", "mode": "ENABLE", "pipeline_version_reference": {"pipeline_id": "p"}}
    made = ask(any_stub, "/apis/v2beta1/recurringruns", "POST", body)[2]["recurring_run_id"]
    answer = ask(any_stub, f"/apis/v2beta1/runs/{any_stub.fire(made).run_id}")[2]
    assert answer["pipeline_version_reference"] == {"pipeline_id": "p", "pipeline_version_id": "v"}
    assert "pipeline_spec" not in answer


def test_the_exit_task_lies_in_a_dag_of_its_own(stub: Any) -> None:
    """backend/src/v2/compiler/argocompiler/dag.go: the steps are a sub-DAG with a driver, the exit task a template hooked to its end."""
    stub.add_run("SUCCEEDED", convert="Succeeded")
    names = {node["name"].removeprefix("nann-training-x7k2p.") for node in stub.workflows["run-x"].nodes.values()}
    assert {"root-driver", "root.exit-handler-1-driver", "root.exit-handler-1.convert.executor"} <= names
    assert "root.exit-handler-1.onExit.summarise.executor" in names


@pytest.mark.parametrize("pod_name_format", ["v1", "v2"])
def test_the_workflow_manifest_has_the_nodes(stub: Any, pod_name_format: str) -> None:
    """workflow.go, RetrievePodName: `<workflow>-<template>-<last part of the id>`, the id itself with the annotation for v1."""
    stub.add_run("SUCCEEDED", convert="Succeeded", pod_name_format=pod_name_format)
    manifest = json.loads(ask(stub, "/apis/v1beta1/runs/run-x")[2]["pipeline_runtime"]["workflow_manifest"])
    pod = stub.pod("run-x", "convert")
    assert manifest["status"]["nodes"][pod.node_id]["type"] == "Pod"
    short = pod.node_id.rpartition("-")[2]
    assert pod.name == (pod.node_id if pod_name_format == "v1" else f"nann-training-x7k2p-system-container-impl-{short}")


def test_ids_of_nodes_are_argos_hash_of_their_names(stub: Any) -> None:
    """argo-workflows, pkg/apis/workflow/v1alpha1, NodeID: FNV-1a of 32 bits; the values are those published for the function."""
    hashed = stub.module.argo_workflow.fnv32a
    assert {text: hashed(text) for text in ("", "a", "foobar")} == {"": 0x811C9DC5, "a": 0xE40C292C, "foobar": 0xBF9CF968}


def test_tasks_come_with_the_full_view_only(newer_stub: Any) -> None:
    """backend/api/v2beta1/run.proto without ML Metadata: task_details is reserved; run_server_view_test.go: no tasks by default."""
    newer_stub.add_run("SUCCEEDED", train="retry Failed Succeeded")
    plain = ask(newer_stub, "/apis/v2beta1/runs/run-x")[2]
    assert "tasks" not in plain
    assert "run_details" not in plain
    assert plain["task_count"] > 0
    tasks = {task["name"]: task for task in ask(newer_stub, "/apis/v2beta1/runs/run-x?view=FULL")[2]["tasks"]}
    assert [pod["type"] for pod in tasks["train"]["pods"]] == ["DRIVER", "EXECUTOR", "EXECUTOR"]
    assert {pod["name"] for pod in tasks["train"]["pods"]} <= set(newer_stub.workflows["run-x"].pods)
    assert (tasks["exit-handler-1"]["type"], tasks["train"]["type"]) == ("EXIT_HANDLER", "RUNTIME")


def test_2_17_ignores_the_view(stub: Any) -> None:
    """Its gateway is grpc-gateway v2 (main.go), whose runtime/query.go passes over fields that the request has not."""
    stub.add_run("SUCCEEDED", convert="Succeeded")
    assert ask(stub, "/apis/v2beta1/runs/run-x?view=FULL") == ask(stub, "/apis/v2beta1/runs/run-x")


def test_lists_come_in_pages(any_stub: Any) -> None:
    """backend/api/v2beta1/run.proto, ListRunsResponse.next_page_token; recurring runs are spelt recurringRuns (recurring_run.proto)."""
    for number in range(3):
        any_stub.add_run("SUCCEEDED", run_id=f"run-{number}")
    first = ask(any_stub, "/apis/v2beta1/runs?sort_by=created_at%20desc")[2]
    second = ask(any_stub, f"/apis/v2beta1/runs?sort_by=created_at%20desc&page_token={first['next_page_token']}")[2]
    assert [run["run_id"] for run in first["runs"] + second["runs"]] == ["run-2", "run-1", "run-0"]
    assert "next_page_token" not in second


def test_a_deleted_schedule_takes_its_running_runs_along_unless_they_are_orphaned(any_stub: Any) -> None:
    """resource_manager.go, DeleteJob: without propagation_policy Kubernetes' default, which takes owned workflows along."""
    for policy, state in (("", "FAILED"), ("?propagation_policy=ORPHAN", "RUNNING")):
        body = {"display_name": "x", "mode": "ENABLE", "pipeline_spec": {"pipelineInfo": {"name": "x"}}}
        made = ask(any_stub, "/apis/v2beta1/recurringruns", "POST", body)[2]["recurring_run_id"]
        run = any_stub.fire(made)
        assert ask(any_stub, f"/apis/v2beta1/recurringruns/{made}{policy}", "DELETE")[0] == 200
        assert run.state == state
        assert run.recurring_run_id == made  # the record of the run stays


def test_a_schedule_is_paused_and_resumed_by_routes_of_their_own(any_stub: Any) -> None:
    """backend/api/v2beta1/recurring_run.proto: :enable and :disable; mode is read at creation only."""
    body = {"display_name": "x", "mode": "ENABLE", "pipeline_spec": {"pipelineInfo": {"name": "x"}}}
    made = ask(any_stub, "/apis/v2beta1/recurringruns", "POST", body)[2]
    assert made["status"] == "ENABLED"
    path = f"/apis/v2beta1/recurringruns/{made['recurring_run_id']}"
    for verb, status in (("disable", "DISABLED"), ("enable", "ENABLED")):
        assert ask(any_stub, f"{path}:{verb}", "POST")[0] == 200
        assert ask(any_stub, "/apis/v2beta1/recurringruns")[2]["recurringRuns"][0]["status"] == status


def test_health_tells_the_version(any_stub: Any) -> None:
    """main.go: /apis/v2beta1/healthz answers commit_sha, tag_name, multi_user and pipeline_store."""
    assert ask(any_stub, "/apis/v2beta1/healthz")[2]["tag_name"] == any_stub.tag


def test_unknown_fields_are_refused(any_stub: Any) -> None:
    """grpc-gateway answers 400 to a body with a field its message has not."""
    status, _, body = ask(any_stub, "/apis/v2beta1/runs", "POST", {"display_name": "x", "colour": "red"})
    assert (status, body["message"]) == (400, "V2beta1Run: unknown field 'colour'")


def test_a_log_of_an_unknown_run_is_a_failed_read(any_stub: Any) -> None:
    """backend/src/apiserver/resource/resource_manager.go, ReadLog: the run is looked up first, and its error written as any other."""
    prefix = "v2" if any_stub.generation == "v2" else "v1alpha1"
    status, _, body = ask(any_stub, f"/apis/{prefix}/runs/nothing/nodes/x/log")
    assert status == (200 if any_stub.generation == "2.17" else 500)
    assert set(body) == {"error_message", "error_details"}
