"""Threads over a stream of work, with results in order and few items in flight, so that memory stays bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from data_prep.cores import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count(requested: int) -> int:
    """``requested`` threads; for 0 one per core that this process may use."""
    return requested or available_cores()


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Applies a function in threads.

    Args:
        function: releases the interpreter lock for most of its time, as Arrow and numpy do.
        items: read in the calling thread, at most ``workers + 1`` ahead of the result that is taken.
        workers: threads.

    Yields:
        The results in the order of the items. An exception of the function is raised at its item's place.
    """
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
