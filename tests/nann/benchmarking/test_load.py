"""Closed loop and fixed rate: who is counted, in what order, and what happens on errors. No test looks at how long anything took."""

import threading
import time

import numpy as np
import pytest

from nann.benchmarking.load import Load, join_loads, run_load, summarize


@pytest.mark.parametrize("threads", [1, 3])
def test_every_request_has_its_own_number_and_is_counted_once(threads: int) -> None:
    seen, lock = [], threading.Lock()

    def request(number: int) -> None:
        time.sleep(0.001)
        with lock:
            seen.append(number)

    load = run_load(request, threads=threads, warmup_seconds=0.02, duration_seconds=0.05)
    assert sorted(seen) == list(range(len(seen)))
    assert load.warmup_requests + len(load.request) == len(seen)
    assert len(np.unique(load.request)) == len(load.request)
    assert set(load.client) == set(range(threads))
    assert load.errors == 0
    assert np.all(load.start_s >= 0)
    assert np.all(load.start_s + load.latency_ms / 1000 <= load.measured_seconds + 1e-9)


def test_as_many_requests_are_under_way_as_there_are_clients() -> None:
    barrier = threading.Barrier(2, timeout=10)  # passed only when two requests meet
    load = run_load(lambda number: barrier.wait(), threads=2, warmup_seconds=0, duration_seconds=1e-9)
    assert len(load.request) == 2


def test_a_request_longer_than_the_whole_load_is_still_measured() -> None:
    load = run_load(lambda number: time.sleep(0.05), threads=1, warmup_seconds=0.01, duration_seconds=0.01)
    assert load.request.tolist() == [load.warmup_requests]  # a machine too busy to start the client in time has no warm-up request


def test_counted_errors_are_counted_and_others_end_the_load() -> None:
    def request(number: int) -> None:
        time.sleep(0.001)
        if number % 2:
            raise KeyError(number)

    load = run_load(request, threads=1, warmup_seconds=0, duration_seconds=0.5, counted_errors=(KeyError,))
    assert load.errors > 0
    assert np.all(load.request % 2 == 0)
    with pytest.raises(KeyError):
        run_load(request, threads=2, warmup_seconds=0, duration_seconds=60)
    with pytest.raises(ValueError, match="threads is 0"):
        run_load(request, threads=0, warmup_seconds=0, duration_seconds=1)


def test_at_a_fixed_rate_every_request_that_falls_due_is_sent_and_waiting_counts() -> None:
    load = run_load(lambda number: time.sleep(0.02), threads=1, warmup_seconds=0.095, duration_seconds=0.2, requests_per_s=100)
    assert load.warmup_requests == 10
    assert load.request.tolist() == list(range(10, 30))
    np.testing.assert_allclose(load.start_s, load.request / 100 - 0.095, atol=1e-9)
    # One client answers fifty a second at best: the queue grows by ten milliseconds with each request.
    assert np.all(np.diff(load.start_s + load.latency_ms / 1000) >= 0.02)
    assert load.latency_ms[-1] - load.latency_ms[0] > 150
    with pytest.raises(ValueError, match="requests_per_s is -1"):
        run_load(lambda number: None, threads=1, warmup_seconds=0, duration_seconds=1, requests_per_s=-1)


def test_joined_loads_follow_each_other() -> None:
    joined = join_loads([literal_load([1, 2], errors=1), literal_load([5])])
    assert joined.latency_ms.tolist() == [1, 2, 5]
    assert joined.start_s.tolist() == [0, 0, 2]
    assert (joined.errors, joined.warmup_requests, joined.measured_seconds) == (1, 14, 4)


def literal_load(latency_ms: list[float], errors: int = 0) -> Load:
    numbers = np.arange(len(latency_ms))
    return Load(numbers, 0 * numbers, 0.0 * numbers, np.array(latency_ms), errors, 7, 2.0)


def test_summary_on_literals() -> None:
    figures = summarize(literal_load([*range(1, 102)], errors=3), batch_size=4)
    assert (figures["p50_ms"], figures["p90_ms"], figures["p99_ms"]) == (51, 91, 100)
    assert figures["p999_ms"] == pytest.approx(100.9)
    assert (figures["min_ms"], figures["max_ms"], figures["mean_ms"]) == (1, 101, 51)
    assert figures["throughput_requests_per_s"] == 50.5
    assert figures["throughput_users_per_s"] == 202
    assert (figures["requests"], figures["errors"], figures["warmup_requests"]) == (101, 3, 7)


def test_no_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="5 failed"):
        summarize(literal_load([], errors=5), batch_size=1)
