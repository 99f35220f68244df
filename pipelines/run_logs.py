"""What the pods of a run wrote, from the API server.

The server has one route for it, by the name of the pod: ``/apis/v1alpha1/runs/RUN/nodes/POD/log``; the generation whose API is called
v2 has it below ``/apis/v2beta1`` instead. Backend 2.17 answers 200 before it reads, so a failed read arrives as JSON in the body; and
it asks the archive by the id of the node, so that is tried when the pod is gone. No route follows a log: it is asked for again.
"""

from __future__ import annotations

import codecs
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from pipelines.api_server import BUSY, ClusterError
from pipelines.cluster import Cluster
from pipelines.run_state import RunState, Task
from pipelines.workflow import DRIVER, Pod

ROUTES = ("v1alpha1", "v2beta1")
OVERLAP = 200  # characters by which the old end of a log is found again
FAILURE_FIELDS = {"error_message", "error_details"}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepLog:
    """A pod whose log is shown, and what it is to its step.

    Attributes:
        title: "train, attempt 2 of 3", "train, its driver" or "train".
        pod: the pod.
    """

    title: str
    pod: Pod


class PodLogReader:
    """Reads logs of one run, and remembers which route its server has."""

    def __init__(self, cluster: Cluster, run_id: str) -> None:
        self._cluster = cluster
        self._run_id = run_id
        self._routes: tuple[str, ...] = ROUTES

    def read(self, pod: Pod) -> str:
        """What a pod wrote so far.

        Raises:
            ClusterError: the server has it neither from Kubernetes nor in its archive; the message has the `kubectl` command.
        """
        reasons = []
        for node in dict.fromkeys(name for name in (pod.name, pod.node_id) if name):
            text, reason = self._ask(node)
            if text is not None:
                if reason:
                    logger.warning("the log of pod %s ends early: %s", pod.name, reason)
                return text
            reasons.append(reason)
        remedy = f"try `kubectl logs -n {self._cluster.namespace} {pod.name} -c main`"
        raise ClusterError(f"the server has no log of pod {pod.name} ({reasons[0]}); {remedy}")

    def _ask(self, node: str) -> tuple[str | None, str]:
        """Text and reason of a failure; the text is None when nothing was read."""
        reason, path = "", f"runs/{quote(self._run_id, safe='')}/nodes/{quote(node, safe='')}/log"
        for route in self._routes:
            try:
                body = self._cluster.read(f"/apis/{route}/{path}", busy=BUSY - {500})
            except ClusterError as error:
                reason = error.explanation or str(error)
                if error.status == 0:
                    raise
                if error.status == 404:  # it has not this route, or not this run
                    continue
                self._routes = (route,)
                return None, reason
            self._routes = (route,)
            # Not final: a character at the end that is half written is left for the next reading.
            return split_failure(codecs.getincrementaldecoder("utf-8")("replace").decode(body))
        return None, reason


def split_failure(body: str) -> tuple[str | None, str]:
    """Tells a log from a failed read that came with status 200.

    Args:
        body: of the answer.

    Returns:
        The log, and why it ends early ("" when it does not); None in place of the log when the body is nothing but the failure.
    """
    start = body.rfind('{"error_message":')
    if start < 0 or not body.endswith("}"):  # the server puts no line break behind it
        return body, ""
    try:
        failure = json.loads(body[start:])
    except ValueError:
        return body, ""
    if set(failure) != FAILURE_FIELDS:
        return body, ""
    told = (" ".join(str(failure.get(name) or "").split()) for name in ("error_details", "error_message"))
    return (body[:start] or None), next(filter(None, told), "no reason given")[:300]


def chosen_tasks(run: RunState, step: str | None) -> list[Task]:
    """The tasks whose logs are meant: that step, else those that failed, else all that have pods.

    Raises:
        ClusterError: there is nothing to show; the message says why.
    """
    if step is None:
        found = run.failed or [task for task in run.tasks if task.attempts]
        if not found:
            raise ClusterError(f"run {run.run_id} has no step with a pod yet; look at `nann pipeline status {run.run_id}`")
        return found
    task = next((task for task in run.tasks if task.name == step), None)
    if task is not None and task.state == "CACHED":
        raise ClusterError(f"the step {step} of run {run.run_id} had no pod: its result was taken from an earlier run (cached)")
    if task is None or not (task.attempts or task.state == "FAILED"):
        raise ClusterError(f"run {run.run_id} has no pod of the step {step} yet; look at `nann pipeline status {run.run_id}`")
    return [task]


def logs_of(task: Task) -> list[StepLog]:
    """The logs of a step: those of all attempts; of its driver when that failed and there was no attempt.

    Raises:
        ClusterError: the server did not say which pods the step had.
    """
    attempts = task.attempts
    if len(attempts) > 1:
        return [StepLog(f"{task.name}, attempt {number} of {len(attempts)}", pod) for number, pod in enumerate(attempts, 1)]
    if attempts:
        return [StepLog(task.name, attempts[0])]
    drivers = [StepLog(f"{task.name}, its driver", pod) for pod in task.pods if pod.kind == DRIVER]
    if not drivers:
        told = f" (it says: {task.error})" if task.error else ""
        raise ClusterError(
            f"the server does not say which pods the step {task.name} had{told}; `kubectl get pods` lists those that are there"
        )
    return drivers


def follow_logs(
    cluster: Cluster,
    run_id: str,
    *,
    step: str | None,
    poll_seconds: float,
    timeout_seconds: float = 0.0,
    title: Callable[[str], None],
    write: Callable[[str], None],
) -> RunState:
    """Shows what the steps of a run write, as it comes, until the run (or the step) has ended.

    The server follows no log, so each running pod is asked again every `poll_seconds`, and what is new is written.

    Args:
        cluster: the server.
        run_id: the run.
        step: only this one; None: all, one after the other as they come.
        poll_seconds: between two looks.
        timeout_seconds: the longest that is waited for the end; 0: no limit.
        title: called when the pod changes, with what it is.
        write: called with text as it comes, whole lines or not.

    Returns:
        The run as it was last seen.

    Raises:
        ClusterError: it does not end in time.
    """
    end = time.monotonic() + timeout_seconds
    reader = PodLogReader(cluster, run_id)
    shown: dict[str, str] = {}
    done: set[str] = set()
    current = ""
    while True:
        run = cluster.run(run_id, pods=True)
        tasks = [task for task in run.tasks if step in (None, task.name)]
        over = run.finished or (step is not None and bool(tasks) and tasks[0].finished)
        for task in tasks:
            for entry in logs_of(task) if task.attempts or (task.state == "FAILED" and task.pods) else ():
                pod = entry.pod.name
                if pod in done:
                    continue
                text = _read_if_there(reader, entry.pod, last=over or task.finished)
                fresh = added_text(shown.get(pod, ""), text)
                if fresh:
                    if current != pod:
                        title(f"{entry.title} ({pod})")
                        current = pod
                    write(fresh)
                    shown[pod] = text
                if task.finished or entry.pod != task.pods[-1]:  # a later attempt is there, so this one has ended
                    done.add(pod)
        if over:
            return run
        if timeout_seconds and time.monotonic() + poll_seconds > end:
            told = f"run {run_id} is {run.state} after {timeout_seconds:g} s; it goes on"
            raise ClusterError(f"{told}, `nann pipeline logs {run_id} --follow` follows it again")
        time.sleep(poll_seconds)


def _read_if_there(reader: PodLogReader, pod: Pod, *, last: bool) -> str:
    """The log, or "" while the pod has not begun to write; a log that stays away is told once, at the end."""
    try:
        return reader.read(pod)
    except ClusterError as error:
        if last:
            logger.warning("%s", error)
        return ""


def added_text(before: str, now: str) -> str:
    """What a log has that was not there before; of a long log Kubernetes keeps only the end, so its beginning may be gone."""
    if now.startswith(before):
        return now[len(before) :]
    tail = before[-OVERLAP:]
    found = now.rfind(tail)
    if found >= 0:
        return now[found + len(tail) :]
    for size in range(min(len(tail), len(now)), 0, -1):
        if now.startswith(tail[-size:]):
            return now[size:]
    return now
