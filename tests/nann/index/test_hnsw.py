"""Building and decoding against hnswlib itself: its saved file, its own search, and brute force."""

import heapq
import struct
from pathlib import Path

import hnswlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.cores import available_cores
from nann.index import build as builder
from nann.index import build_hnsw, decode_hnsw
from nann.index.graph import Graph


def random_vectors(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def build(vectors: np.ndarray, m: int = 8, ef_construction: int = 60, start_level: int = 2, **options: int) -> tuple[hnswlib.Index, Graph]:
    index = build_hnsw(vectors, m=m, ef_construction=ef_construction, **options)
    return index, decode_hnsw(index, start_level=start_level)


def parse_saved_index(path: Path) -> list[list[list[int]]]:
    """lists[level][label] = neighbour labels, read from hnswlib's file field by field."""
    raw = path.read_bytes()
    offset_level0, _, count, record_bytes, label_offset, _ = struct.unpack_from("<6Q", raw, 0)
    max_level, _ = struct.unpack_from("<iI", raw, 48)
    max_m, max_m0, _, _, _ = struct.unpack_from("<QQQdQ", raw, 56)
    at = 96
    labels = [struct.unpack_from("<Q", raw, at + i * record_bytes + label_offset)[0] for i in range(count)]

    def read(position: int, width: int) -> list[int]:
        (length,) = struct.unpack_from("<H", raw, position)
        assert length <= width
        return [labels[link] for link in struct.unpack_from(f"<{length}I", raw, position + 4)]

    lists: list[list[list[int]]] = [[[] for _ in range(count)] for _ in range(max_level + 1)]
    for i in range(count):
        lists[0][labels[i]] = read(at + i * record_bytes + offset_level0, max_m0)
    at += count * record_bytes
    for i in range(count):
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4
        for level in range(size // (4 + 4 * max_m)):
            lists[level + 1][labels[i]] = read(at + level * (4 + 4 * max_m), max_m)
        at += size
    assert at == len(raw)
    return lists


def search_layer(graph: Graph, vectors: np.ndarray, query: np.ndarray, entries: set[int], ef: int, level: int) -> list[tuple[float, int]]:
    """Algorithm 2 of arXiv 1603.09320 over the decoded lists; (distance, position) ascending."""

    def distance(position: int) -> float:
        return float(np.sum((vectors[position] - query) ** 2))

    visited = set(entries)
    candidates = [(distance(entry), entry) for entry in entries]
    heapq.heapify(candidates)
    found = [(-d, entry) for d, entry in candidates]
    heapq.heapify(found)
    while candidates:
        nearest, position = heapq.heappop(candidates)
        if nearest > -found[0][0] and len(found) == ef:
            break
        for neighbor in graph.levels[level].of(position).tolist():
            if neighbor in visited:
                continue
            visited.add(neighbor)
            d = distance(neighbor)
            if len(found) < ef or d < -found[0][0]:
                heapq.heappush(candidates, (d, neighbor))
                heapq.heappush(found, (-d, neighbor))
                if len(found) > ef:
                    heapq.heappop(found)
    return sorted((-d, position) for d, position in found)


@pytest.mark.parametrize(("count", "threads"), [(1, 1), (2, 1), (5, 1), (700, 1), (700, 2)])
def test_decoded_lists_equal_the_saved_file(tmp_path: Path, count: int, threads: int) -> None:
    index, graph = build(random_vectors(count), threads=threads)
    index.save_index(str(tmp_path / "hnsw.bin"))
    parsed = parse_saved_index(tmp_path / "hnsw.bin")
    assert len(parsed) == len(graph.levels)
    for lists, expected in zip(graph.levels, parsed, strict=True):
        assert [lists.of(position).tolist() for position in range(count)] == expected


def test_items_inserted_piece_by_piece_make_the_index_of_one_insertion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = random_vectors(700)
    build(vectors)[0].save_index(str(tmp_path / "whole.bin"))
    monkeypatch.setattr(builder, "ITEMS_AT_ONCE", 97)
    build(vectors)[0].save_index(str(tmp_path / "pieces.bin"))
    assert (tmp_path / "pieces.bin").read_bytes() == (tmp_path / "whole.bin").read_bytes()


def test_threads_follow_the_number_of_items() -> None:
    cores = available_cores()
    assert [builder.build_threads(0, items) for items in (1, builder.BYTE_IDENTICAL_ITEMS)] == [1, 1]
    assert builder.build_threads(0, builder.BYTE_IDENTICAL_ITEMS + 1) == cores
    assert [builder.build_threads(3, items) for items in (1, 10**6)] == [3, 3]


def test_search_over_decoded_lists_equals_hnswlib() -> None:
    vectors, queries = random_vectors(2000), random_vectors(60, seed=1)
    index, graph = build(vectors, m=6, start_level=99)
    state = index.__getstate__()[0]
    label = dict(zip(state["label_lookup_internal"].tolist(), state["label_lookup_external"].tolist(), strict=True))
    top_node = int(label[state["enterpoint_node"]])
    index.set_ef(40)
    expected, _ = index.knn_query(queries, k=20)
    equal = 0
    for query, ids in zip(queries, expected.astype(int), strict=True):
        start = {top_node}
        for level in range(len(graph.levels) - 1, 0, -1):
            start = {search_layer(graph, vectors, query, start, 1, level)[0][1]}
        found = [position for _, position in search_layer(graph, vectors, query, start, 40, 0)[:20]]
        equal += int(np.sum(found == ids))
    assert equal >= 0.999 * expected.size


def test_good_graph_finds_the_nearest_by_brute_force() -> None:
    vectors, queries = random_vectors(1500), random_vectors(30, seed=2)
    _, graph = build(vectors, m=16, ef_construction=100)
    exact = np.argsort(((queries[:, None, :] - vectors[None]) ** 2).sum(-1), axis=1)[:, :10]
    entries = set(graph.enter_points.tolist())
    found = [{position for _, position in search_layer(graph, vectors, query, entries, 100, 0)[:10]} for query in queries]
    hits = sum(len(a & set(b.tolist())) for a, b in zip(found, exact, strict=True))
    assert hits >= 0.99 * exact.size


def test_one_thread_is_byte_identical_and_the_seed_matters(tmp_path: Path) -> None:
    raw = []
    for number, seed in enumerate([1, 1, 2]):
        index, _ = build(random_vectors(400), seed=seed)
        index.save_index(str(tmp_path / f"{number}.bin"))
        raw.append((tmp_path / f"{number}.bin").read_bytes())
    assert raw[0] == raw[1]
    assert raw[0] != raw[2]


def test_entry_points_are_the_nodes_of_the_start_level_and_above() -> None:
    index, _ = build(random_vectors(1200), m=4)
    state = index.__getstate__()[0]
    label = dict(zip(state["label_lookup_internal"].tolist(), state["label_lookup_external"].tolist(), strict=True))
    heights = {int(label[i]): int(height) for i, height in enumerate(state["element_levels"])}
    top = max(heights.values())
    for start_level in (0, 1, 2, top, top + 5):
        graph = decode_hnsw(index, start_level=start_level)
        expected = sorted(node for node, height in heights.items() if height >= min(start_level, top))
        assert graph.enter_points.tolist() == expected


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 60), dim=st.integers(1, 4), copies=st.integers(1, 5), m=st.integers(2, 20), seed=st.integers(0, 99))
def test_any_small_corpus_decodes_to_a_graph(count: int, dim: int, copies: int, m: int, seed: int) -> None:
    vectors = np.repeat(random_vectors(count, dim, seed), copies, axis=0)
    _, graph = build(vectors, m=m, seed=seed)
    assert graph.num_nodes == count * copies
    assert len(graph.enter_points) >= 1
    for level, lists in enumerate(graph.levels):
        degrees = np.diff(lists.row_splits)
        assert degrees.max(initial=0) <= (2 * m if level == 0 else m)
        sources = np.repeat(np.arange(graph.num_nodes), degrees)
        assert (lists.values != sources).all()
        assert len(set(zip(sources.tolist(), lists.values.tolist(), strict=True))) == len(lists.values)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((0, 4), np.float32), "N and D at least 1"),
        (np.zeros((4, 0), np.float32), "N and D at least 1"),
        (np.zeros(4, np.float32), "must be"),
        (np.full((3, 2), np.nan, np.float32), "finite"),
        (np.full((3, 2), np.inf, np.float32), "finite"),
    ],
)
def test_bad_vectors_are_refused(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_hnsw(vectors, m=8, ef_construction=40)


def test_m_below_two_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2, got 1"):
        build_hnsw(random_vectors(4), m=1, ef_construction=40)


def test_labels_that_are_no_positions_are_refused() -> None:
    index = hnswlib.Index("l2", 2)
    index.init_index(2, M=4, ef_construction=10)
    index.add_items(random_vectors(2, 2), [5, 9])
    with pytest.raises(ValueError, match=r"positions 0\.\.1"):
        decode_hnsw(index, start_level=2)
