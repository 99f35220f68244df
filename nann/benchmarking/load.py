"""Load from N clients: each sends the next request when the last one is answered, or requests fall due at a fixed rate."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Load:
    """What the measured part of a load brought (R requests answered).

    Attributes:
        request: [R] int64 number of the request, ascending; requests before the first measured one were warm-up.
        client: [R] int64 client that sent it, from 0.
        start_s: [R] float64 seconds since measuring began: when the request was sent, or at a fixed rate when it was due.
        latency_ms: [R] float64, from then to the answer.
        errors: measured requests that failed.
        warmup_requests: requests of the warm-up, failed ones included.
        measured_seconds: from the begin of measuring to the last answer.
    """

    request: NDArray[np.int64]
    client: NDArray[np.int64]
    start_s: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    errors: int
    warmup_requests: int
    measured_seconds: float


@dataclass(frozen=True)
class _Plan:
    """When requests are sent; times are those of `time.perf_counter`.

    Attributes:
        first: when the warm-up began.
        begin: when measuring begins.
        deadline: when no request is sent any more.
        requests_per_s: fixed rate; 0: closed loop.
        numbers: of the requests; next() on it is atomic.
    """

    first: float
    begin: float
    deadline: float
    requests_per_s: float
    numbers: Iterator[int]

    @classmethod
    def starting_now(cls, warmup_seconds: float, duration_seconds: float, requests_per_s: float) -> _Plan:
        first = time.perf_counter()
        begin = first + warmup_seconds
        return cls(first, begin, begin + duration_seconds, requests_per_s, itertools.count())

    def next_request(self, *, has_measured: bool) -> tuple[int, float] | None:
        """Waits until a request is due; its number and when it was. None at the end, which a client without a measurement puts off."""
        if self.requests_per_s:
            number = next(self.numbers)
            start = self.first + number / self.requests_per_s
            if start >= self.deadline:
                return None
            time.sleep(max(0.0, start - time.perf_counter()))
            return number, start
        start = time.perf_counter()
        return None if start >= self.deadline and has_measured else (next(self.numbers), start)


@dataclass
class _Client:
    number: int
    rows: list[tuple[int, int, float, float]] = field(default_factory=list)
    errors: int = 0
    warmup_requests: int = 0
    end: float = 0.0
    failure: BaseException | None = None

    @property
    def has_measured(self) -> bool:
        """Whether a measured request was answered, or failed."""
        return bool(self.rows or self.errors)

    def send(
        self, request: Callable[[int], object], number: int, start: float, begin: float, counted_errors: tuple[type[Exception], ...]
    ) -> None:
        """Sends a request that was due at ``start``, and notes what became of it."""
        measured, answered = start >= begin, True
        try:
            request(number)
        except counted_errors as error:
            logger.warning("request %d failed: %s", number, error)
            self.errors += measured
            answered = False
        self.end = time.perf_counter()
        if not measured:
            self.warmup_requests += 1
        elif answered:
            self.rows.append((number, self.number, start - begin, 1000 * (self.end - start)))


def run_load(
    request: Callable[[int], object],
    *,
    threads: int,
    warmup_seconds: float,
    duration_seconds: float,
    requests_per_s: float = 0,
    counted_errors: tuple[type[Exception], ...] = (),
) -> Load:
    """Sends requests from ``threads`` clients at once: first a warm-up that is not counted, then the measured part.

    With a rate, request n is due n / rate seconds after the warm-up began, and whichever client is free sends it. Its latency counts from
    when it was due, so the time it waited for a client is in it: a system that is too slow cannot hide it by being asked less often.

    Requests are numbered from 0 in the order they are sent, over all clients, so that equal numbers mean equal work. In a closed
    loop every client sends at least one measured request, however slow it is.

    Args:
        request: does request number n and returns when it is answered; called from several threads.
        threads: number of clients, at least 1.
        warmup_seconds: clients go over to measured requests when this time is over.
        duration_seconds: no request is sent, or due, later than this after measuring began; what is under way is finished and counted.
        requests_per_s: fixed rate; 0: closed loop.
        counted_errors: exceptions that count as an error of the request; any other ends the load.

    Raises:
        ValueError: ``threads`` < 1, or the rate is negative.
        Exception: what ``request`` raised, if it is not among ``counted_errors``.
    """
    if threads < 1:
        raise ValueError(f"threads is {threads}; a load needs at least 1")
    if requests_per_s < 0:
        raise ValueError(f"requests_per_s is {requests_per_s}; a rate is above 0, and 0 stands for a closed loop")
    plan = _Plan.starting_now(warmup_seconds, duration_seconds, requests_per_s)
    clients = [_Client(number) for number in range(threads)]
    stop = threading.Event()

    def work(client: _Client) -> None:
        try:
            while not stop.is_set() and (due := plan.next_request(has_measured=client.has_measured)):
                client.send(request, *due, plan.begin, counted_errors)
        except BaseException as error:  # carried to the caller's thread, raised there
            client.failure = error
            stop.set()

    workers = [threading.Thread(target=work, args=(client,), name=f"client-{client.number}") for client in clients]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for client in clients:
        if client.failure is not None:
            raise client.failure
    rows = np.array(sorted(row for client in clients for row in client.rows), dtype=np.float64).reshape(-1, 4)
    return Load(
        request=rows[:, 0].astype(np.int64),
        client=rows[:, 1].astype(np.int64),
        start_s=rows[:, 2],
        latency_ms=rows[:, 3],
        errors=sum(client.errors for client in clients),
        warmup_requests=sum(client.warmup_requests for client in clients),
        measured_seconds=max(0.0, max(client.end for client in clients) - plan.begin),
    )


def join_loads(loads: Sequence[Load]) -> Load:
    """Several loads of one kind as one, each beginning where the last one ended.

    Args:
        loads: at least one.
    """
    starts = np.cumsum([0.0, *(load.measured_seconds for load in loads[:-1])])
    return Load(
        request=np.concatenate([load.request for load in loads]),
        client=np.concatenate([load.client for load in loads]),
        start_s=np.concatenate([load.start_s + start for load, start in zip(loads, starts, strict=True)]),
        latency_ms=np.concatenate([load.latency_ms for load in loads]),
        errors=sum(load.errors for load in loads),
        warmup_requests=sum(load.warmup_requests for load in loads),
        measured_seconds=sum(load.measured_seconds for load in loads),
    )


def summarize(load: Load, *, batch_size: int) -> dict[str, float | int]:
    """The figures of a load: latency percentiles (linear interpolation), mean, and throughput.

    Args:
        load: with at least one answered request.
        batch_size: users per request.

    Returns:
        ``p50_ms``, ``p90_ms``, ``p99_ms``, ``p999_ms``, ``min_ms``, ``max_ms``, ``mean_ms``, ``throughput_users_per_s``,
        ``throughput_requests_per_s``, ``requests``, ``errors``, ``warmup_requests``, ``measured_seconds``.

    Raises:
        ValueError: no request was answered.
    """
    if not len(load.latency_ms):
        raise ValueError(f"no request was answered ({load.errors} failed), so there is no latency")
    p50, p90, p99, p999 = (float(value) for value in np.percentile(load.latency_ms, [50, 90, 99, 99.9]))
    per_second = len(load.latency_ms) / load.measured_seconds
    return {
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "p999_ms": p999,
        "min_ms": float(load.latency_ms.min()),
        "max_ms": float(load.latency_ms.max()),
        "mean_ms": float(load.latency_ms.mean()),
        "throughput_users_per_s": per_second * batch_size,
        "throughput_requests_per_s": per_second,
        "requests": len(load.latency_ms),
        "errors": load.errors,
        "warmup_requests": load.warmup_requests,
        "measured_seconds": load.measured_seconds,
    }
