"""Reads the neighbour lists out of an hnswlib index, level by level, without a Python loop over nodes.

hnswlib keeps, for n elements in insertion order ("internal ids"):

- ``data_level0``: one record per element: u16 link count and two bytes of flags, 2M u32 links, the vector, a u64 label;
- ``link_lists``: for each element of level h >= 1, h records (level 1 first) of a u16 count, two unused bytes and M u32 links,
  elements one after the other;
- ``element_levels``: [n] the level of each element.

Links are internal ids. Insertion with several threads does not follow the labels, so both ends are mapped to labels here.
"""

from __future__ import annotations

import hnswlib
import numpy as np

from nann.index.graph import Graph, NeighborLists

LINK_BYTES = 4
COUNT_BYTES = 4


def decode_hnsw(index: hnswlib.Index, *, start_level: int) -> Graph:
    """The neighbour lists of every level, and the entry points.

    Args:
        index: an hnswlib index whose labels are 0..N-1, N >= 1.
        start_level: entry points are the nodes of this level and above; where the graph is lower, those of its highest level.

    Returns:
        The graph; lists keep hnswlib's order.

    Raises:
        ValueError: the index is empty, or its labels are not 0..N-1.
    """
    state = index.__getstate__()[0]
    count = int(state["cur_element_count"])
    if not count:
        raise ValueError("the index has 0 elements, at least 1 is needed")
    record_bytes = int(state["size_data_per_element"])
    records = state["data_level0"].view(np.uint8)[: count * record_bytes].reshape(count, record_bytes)
    label_offset = int(state["label_offset"])
    labels = np.ascontiguousarray(records[:, label_offset : label_offset + 8]).view(np.uint64)[:, 0].astype(np.int64)
    if not np.array_equal(np.sort(labels), np.arange(count)):
        raise ValueError(f"labels must be the positions 0..{count - 1}, each once; got {labels[:5].tolist()}...")
    heights = state["element_levels"][:count].astype(np.int64)

    offset = int(state["offset_level0"])
    width = COUNT_BYTES + LINK_BYTES * int(state["max_M0"])
    levels = [_lists(np.arange(count), records[:, offset : offset + width], labels, count)]

    upper_bytes = int(state["size_links_per_element"])
    upper = state["link_lists"].view(np.uint8).reshape(-1, upper_bytes)
    first_record = np.cumsum(heights) - heights
    for level in range(1, int(heights.max()) + 1):
        nodes = np.flatnonzero(heights >= level)
        levels.append(_lists(nodes, upper[first_record[nodes] + level - 1], labels, count))

    start = min(start_level, int(heights.max()))
    return Graph(enter_points=np.sort(labels[heights >= start]), levels=tuple(levels))


def _lists(nodes: np.ndarray, records: np.ndarray, labels: np.ndarray, count: int) -> NeighborLists:
    """Row-split lists by label, of link records [len(nodes), 4 + 4 * width] uint8 that belong to the internal ids `nodes`."""
    words = np.ascontiguousarray(records).view(np.uint32)
    lengths = (words[:, 0] & 0xFFFF).astype(np.int64)
    order = np.argsort(labels[nodes])
    nodes, lengths, links = nodes[order], lengths[order], words[order, 1:]
    present = np.arange(links.shape[1]) < lengths[:, np.newaxis]
    row_lengths = np.zeros(count, np.int64)
    row_lengths[labels[nodes]] = lengths
    row_splits = np.concatenate([[0], np.cumsum(row_lengths)]).astype(np.int64)
    return NeighborLists(values=labels[links[present]].astype(np.int32), row_splits=row_splits)
