"""The process with PyTorch of `benchmarks/embedding.py`: `torch.nn.EmbeddingBag` when told to, one call at a time.

worker.py SOCKET    (the key of the connection in NANN_BENCHMARK_KEY)
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Client
from typing import Any

import numpy as np
import torch


class Bags:
    """Bags of one cell. Their ids must be pruned before: a mask and a cumulative sum, as users of the class write it."""

    def __init__(self, tables: list[np.ndarray], lookups: list[tuple[np.ndarray, np.ndarray]], combiner: str) -> None:
        make = torch.nn.EmbeddingBag.from_pretrained
        self.bags = [make(torch.from_numpy(table), freeze=False, mode=combiner, sparse=True) for table in tables]
        self.optimizer = torch.optim.Adagrad([bag.weight for bag in self.bags], lr=0.01, initial_accumulator_value=0.1)
        self.inputs = [(torch.from_numpy(values), torch.from_numpy(splits)) for values, splits in lookups]
        self.direction = torch.empty(0)

    def pool(self) -> torch.Tensor:
        outputs = []
        for bag, (values, splits) in zip(self.bags, self.inputs, strict=True):
            keep = values >= 0
            starts = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cumsum(keep, 0)])[splits[:-1]]
            outputs.append(bag(values[keep], starts))
        return torch.cat(outputs, dim=1)

    def forward(self) -> object:
        with torch.no_grad():
            return self.pool()

    def gradient(self) -> object:
        self.optimizer.zero_grad()
        (self.pool() * self.direction).sum().backward()
        return [bag.weight.grad.coalesce() for bag in self.bags]

    def update(self) -> object:
        self.optimizer.zero_grad()
        (self.pool() * self.direction).sum().backward()
        return self.optimizer.step()


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def answer(message: dict[str, Any], bags: Bags | None) -> tuple[Any, Bags | None]:
    if "load" in message:
        return None, Bags(**message["load"])
    if "direction" in message:
        bags.direction = torch.from_numpy(message["direction"])
        return None, bags
    if message["run"] == "pooled":
        return bags.forward().numpy(), bags
    return seconds(getattr(bags, message["run"])), bags


def main() -> None:
    bags = None
    with Client(sys.argv[1], authkey=bytes.fromhex(os.environ["NANN_BENCHMARK_KEY"])) as connection:
        while (message := connection.recv()) is not None:
            reply, bags = answer(message, bags)
            connection.send(reply)


if __name__ == "__main__":
    main()
