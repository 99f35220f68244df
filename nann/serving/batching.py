"""Requests that come at the same time are put to the graph in one call: an item's tables are read once for all of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.serving.metrics import ServerMetrics
from nann.serving.opened import OpenedModel
from nann.serving.requests import PredictRequest, RequestError

Outputs = dict[str, NDArray[Any]]
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Waiting:
    """A request that waits for its call."""

    model: OpenedModel
    request: PredictRequest
    future: asyncio.Future[Outputs]
    since: float = field(default_factory=time.perf_counter)

    def goes_with(self, other: _Waiting) -> bool:
        """Whether one call may answer both."""
        same = self.model is other.model and self.request.signature == other.request.signature
        # what is not a list of best items is as long as the history
        return same and ("top_k_scores" in self._outputs() or self._length() == other._length())

    def _outputs(self) -> Any:
        return self.model.signatures[self.request.signature].outputs

    def _length(self) -> int:
        return int(self.request.inputs["item_ids"].shape[1])


class Batcher:
    """Answers requests, some at a time. Made and used in one event loop; the graph runs in threads.

    A call takes the oldest waiting request and what goes with it, up to ``max_batch`` users. It starts when one of ``threads`` is free and
    the batch is full, or its oldest request has waited ``wait_seconds``.

    Args:
        max_batch: users per call; a request with more goes alone.
        wait_seconds: longest wait for others while a thread is free.
        threads: calls at a time.
        max_waiting: requests that may wait.
        metrics: counts.
    """

    def __init__(self, *, max_batch: int, wait_seconds: float, threads: int, max_waiting: int, metrics: ServerMetrics) -> None:
        self._max_batch, self._wait, self._free, self._max_waiting = max_batch, wait_seconds, threads, max_waiting
        self._metrics = metrics
        self._waiting: deque[_Waiting] = deque()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="graph")
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, model: OpenedModel, request: PredictRequest) -> Outputs:
        """The outputs for one request.

        Raises:
            RequestError: too many requests wait.
            Exception: what the graph raised for this request.
        """
        if len(self._waiting) >= self._max_waiting:
            raise RequestError(503, f"{self._max_waiting} requests are waiting already; try again, or run more servers")
        waiting = _Waiting(model, request, self._loop.create_future())
        self._waiting.append(waiting)
        self._start_calls()
        return await waiting.future

    def close(self) -> None:
        """Ends the threads, after what runs."""
        self._pool.shutdown()

    def _start_calls(self) -> None:
        while self._free and self._waiting:
            batch = self._next_batch()
            users = sum(waiting.request.users for waiting in batch)
            due = batch[0].since + self._wait - time.perf_counter()
            if users < self._max_batch and due > 0:
                if self._timer is None:
                    self._timer = self._loop.call_later(due, self._on_timer)
                return
            taken = set(map(id, batch))
            self._waiting = deque(waiting for waiting in self._waiting if id(waiting) not in taken)
            self._free -= 1
            self._metrics.batch_users.observe(users)
            for waiting in batch:
                self._metrics.wait_seconds.observe(time.perf_counter() - waiting.since)
            self._loop.run_in_executor(self._pool, self._call, batch).add_done_callback(self._on_done)

    def _on_timer(self) -> None:
        self._timer = None
        self._start_calls()

    def _on_done(self, done: asyncio.Future[None]) -> None:
        self._free += 1
        if (error := done.exception()) is not None:
            logger.error("a batch failed", exc_info=error)
        self._start_calls()

    def _next_batch(self) -> list[_Waiting]:
        first, *others = self._waiting
        batch, users = [first], first.request.users
        for waiting in others:
            if users >= self._max_batch:
                break
            if waiting.goes_with(first) and users + waiting.request.users <= self._max_batch:
                batch.append(waiting)
                users += waiting.request.users
        return batch

    def _call(self, batch: list[_Waiting]) -> None:
        """Runs the graph and hands every request its part; if the graph refuses several, each is asked alone."""
        begin = time.perf_counter()
        try:
            outputs = batch[0].model.retrieval.run(batch[0].request.signature, **_joined(batch))
        except Exception as error:  # carried to the request, whatever it is
            if len(batch) > 1:
                for waiting in batch:
                    self._call([waiting])
                return
            self._loop.call_soon_threadsafe(_fail, batch[0].future, error)
            return
        self._metrics.graph_seconds.observe(time.perf_counter() - begin)
        first = 0
        for waiting in batch:
            last = first + waiting.request.users
            part = {name: values[first:last] for name, values in outputs.items()}
            self._loop.call_soon_threadsafe(_finish, waiting.future, part)
            first = last


def _joined(batch: list[_Waiting]) -> dict[str, NDArray[Any]]:
    """The inputs of all requests, histories filled up to the longest."""
    if len(batch) == 1:
        return batch[0].request.inputs
    joined = {}
    for name in batch[0].request.inputs:
        parts = [waiting.request.inputs[name] for waiting in batch]
        if parts[0].ndim == 1:
            joined[name] = np.concatenate(parts)
            continue
        empty = batch[0].request.padding[name]
        shape = (sum(len(part) for part in parts), max(part.shape[1] for part in parts))
        joined[name] = np.full(shape, empty, parts[0].dtype)
        first = 0
        for part in parts:
            joined[name][first : first + len(part), : part.shape[1]] = part
            first += len(part)
    return joined


def _finish(future: asyncio.Future[Outputs], outputs: Outputs) -> None:
    if not future.done():
        future.set_result(outputs)


def _fail(future: asyncio.Future[Outputs], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
