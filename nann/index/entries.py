"""Further entry points of a walk: items without a training event.

Such an item has a vector by its category and features alone, so that those of one category lie close together, and few links lead to them
from elsewhere: a walk that meets none of a group misses the whole group, however many of its items score well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nann.index.graph import Graph

SHARE, MOST = 1 / 64, 1024  # of the corpus, and of all; every walk scores all entry points


def enter_at_untrained(graph: Graph, counts: NDArray[np.integer], categories: NDArray[np.integer]) -> Graph:
    """The graph with positions of items without a training event as further entry points, taken from all categories in turn.

    Args:
        graph: of N nodes.
        counts: [N] training events of the item at each position.
        categories: [N] its category row.

    Returns:
        The graph with at most ``min(SHARE * N, MOST)`` further entry points, those of the largest categories first.
    """
    untrained = np.flatnonzero(np.asarray(counts) == 0)
    of = np.asarray(categories)[untrained]
    sizes = np.bincount(of) if len(of) else np.zeros(0, np.int64)
    order = np.argsort(of, kind="stable")
    number = np.empty(len(of), np.int64)  # of each item within its category
    number[order] = np.arange(len(of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = untrained[np.lexsort((of, -sizes[of], number))][: min(int(SHARE * graph.num_nodes), MOST)]
    return replace(graph, enter_points=np.union1d(graph.enter_points, chosen).astype(np.int64))
