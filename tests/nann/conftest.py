"""The walk of `nann.retrieval.beam` in plain Python, slow and obvious, to compare with; which ops have no kernel for GPUs; and one small
trained run for all that opens, serves and explains models: the one that the blocks of docs/python.md make, as one script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tensorflow.python.framework import kernels

from nann.dataset import Items, load_items
from nann.index.graph import Graph
from nann.retrieval.plan import WalkPlan


@pytest.fixture(scope="session")
def reference_walk() -> Callable[..., Any]:
    return walk_in_python


def walk_in_python(score: Callable[[list[int]], list[float]], graph: Graph, plan: WalkPlan) -> tuple[list[int], list[float], int]:
    """Positions and scores of the best `plan.top_k` items scored, and how many were.

    Args:
        score: scores of positions.
        graph: the graph.
        plan: the walk.
    """
    found: list[tuple[float, int, int]] = []  # score, order of discovery, position

    def visit(positions: list[int]) -> None:
        for position, value in zip(positions, score(positions), strict=True):
            found.append((float(value), len(found), position))

    def ranking(size: int) -> list[tuple[float, int, int]]:
        return sorted(found, key=lambda entry: (-entry[0], entry[1]))[:size]

    visit([int(position) for position in plan.enter_points])
    for level in plan.levels:
        frontier = [position for _, _, position in ranking(level.ef)]
        for _ in range(level.rounds):
            seen = {position for _, _, position in found}
            neighbors = [int(neighbor) for position in frontier for neighbor in graph.levels[level.level].of(position)]
            first_new = len(found)
            visit([neighbor for neighbor in dict.fromkeys(neighbors) if neighbor not in seen])
            frontier = [position for _, order, position in ranking(level.ef) if order >= first_new]
    best = ranking(plan.top_k)
    return [position for _, _, position in best], [value for value, _, _ in best], len(found)


# Ops with kernels for GPUs in TensorFlow 2.21 that its build for CPUs does not register, so that its registry cannot tell: read from
# TensorFlow's sources. Some of them compute int32 on the host, as those registered for any device ("DEFAULT") do.
STOCK_GPU_KERNELS = set(
    re.findall(
        r"\w+",
        """
    All Any BatchMatMulV2 BiasAdd Cast Cumsum DivNoNan Einsum Elu Erf Exp GatherNd GatherV2 IsFinite Log Log1p LogicalAnd LogicalNot
    LogicalOr LogSoftmax LowerBound MatMul Mean OneHot Pack PadV2 Pow Prod RealDiv Reciprocal Relu ReluGrad Rsqrt RsqrtGrad ScatterNd
    Select SelectV2 Sigmoid SigmoidGrad Softmax Softplus SoftplusGrad Sqrt StatelessRandomGetKeyCounter StatelessRandomNormalV2
    StatelessRandomUniformV2 StridedSlice StridedSliceGrad Sum Tanh TensorScatterUpdate Tile TopKV2 Transpose UnsortedSegmentSum
    UpperBound Where
    """,
    )
)


@pytest.fixture(scope="session")
def host_ops():
    """A function from op names to those without a kernel for GPUs, as far as the registry, the table above and our sources tell."""
    source = Path(__file__).resolve().parents[2] / "ops/cc/embedding_gpu_kernels.cc"
    ours = set(re.findall(r'NANN_GPU\(\s*"([^"]+)"', source.read_text())) if source.is_file() else set()

    def select(ops):
        registered: dict[str, set[str]] = {}
        for kernel in kernels.get_all_registered_kernels().kernel:
            registered.setdefault(kernel.op, set()).add(kernel.device_type)
        return {op for op in ops - STOCK_GPU_KERNELS - ours if not registered[op] & {"DEFAULT", "GPU"}}

    return select


PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@dataclass(frozen=True)
class TrainedRun:
    """The run directory, its catalogue, and what the script printed."""

    root: Path
    items: Items
    printed: list[str]

    def history(self, length: int = 3) -> list:
        """Ids of a made-up history, items with many events."""
        return self.items.item_ids[self.items.train_counts.argsort()[-length:]].tolist()


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    directory = tmp_path_factory.mktemp("python")
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parents[1])}
    done = subprocess.run([sys.executable, "-c", script], cwd=directory, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return TrainedRun(directory / "runs" / "mine", load_items(directory / "runs" / "mine" / "dataset"), done.stdout.splitlines())
