"""What the batches of `nann serve` do that no request from outside can bring about for certain."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

batching = pytest.importorskip("nann.serving.batching", reason="nann serve is an extra: pip install 'nann-pipeline[serve]'")
requests = pytest.importorskip("nann.serving.requests")
metrics = pytest.importorskip("nann.serving.metrics")
REFUSED = 666


class Graph:
    """Answers with the ids it is asked with, once it is let; refuses one of them."""

    def __init__(self) -> None:
        self.calls: list[np.ndarray] = []
        self.go = threading.Event()

    def run(self, signature: str, item_ids: np.ndarray) -> dict[str, np.ndarray]:
        assert self.go.wait(60)
        self.calls.append(item_ids)
        if (item_ids == REFUSED).any():
            raise ValueError(f"{REFUSED} is refused")
        return {"top_k_scores": item_ids}


def asked(graph: Graph, histories: list[list[int]], **options: Any) -> list[Any]:
    """Puts all requests, of one user each, before the graph answers any; their answers, or what they raised."""
    signature = SimpleNamespace(outputs={"top_k_scores": None})
    model = SimpleNamespace(retrieval=graph, signatures={"by_catalogue_id": signature}, no_item=-1)

    async def ask_all() -> list[Any]:
        settings = {"max_batch": 4, "wait_seconds": 0.0, "threads": 1, "max_waiting": 100} | options
        batcher = batching.Batcher(**settings, metrics=metrics.ServerMetrics())
        given = [
            requests.PredictRequest("by_catalogue_id", {"item_ids": np.array([ids])}, True, {"item_ids": -1}, frozenset())
            for ids in histories
        ]
        tasks = [asyncio.create_task(batcher.run(model, request)) for request in given]
        await asyncio.sleep(0)
        graph.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        return answers

    return asyncio.run(ask_all())


def test_a_call_holds_what_waited_while_the_graph_was_busy() -> None:
    graph = Graph()
    answers = asked(graph, [[1], [2, 2], [3], [4, 4, 4], [5], [6]])
    assert [call.tolist() for call in graph.calls] == [[[1]], [[2, 2, -1], [3, -1, -1], [4, 4, 4], [5, -1, -1]], [[6]]]
    firsts = [answer["top_k_scores"][:, 0].tolist() for answer in answers]
    assert firsts == [[1], [2], [3], [4], [5], [6]]


def test_a_batch_waits_for_others_until_it_is_full() -> None:
    graph = Graph()
    asked(graph, [[number] for number in range(8)], wait_seconds=600.0)
    assert [len(call) for call in graph.calls] == [4, 4]


def test_a_request_that_is_refused_fails_alone() -> None:
    graph = Graph()
    answers = asked(graph, [[1], [2], [REFUSED], [3]])
    assert [answer["top_k_scores"].tolist() for answer in answers if isinstance(answer, dict)] == [[[1]], [[2]], [[3]]]
    assert str(answers[2]) == "666 is refused"


def test_more_requests_than_may_wait_are_told_to_come_again() -> None:
    answers = asked(Graph(), [[number] for number in range(6)], max_waiting=3)
    refused = [answer for answer in answers if isinstance(answer, requests.RequestError)]
    assert [(error.status, str(error)) for error in refused] == [
        (503, "3 requests are waiting already; try again, or run more servers")
    ] * 2
    assert sum(isinstance(answer, dict) for answer in answers) == 4
