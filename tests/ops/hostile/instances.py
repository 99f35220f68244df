"""Calls that once ended the process or answered wrongly, by what they do, with what they have to answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from calls import DIM, ITEMS, Held, changed, floats, ints

VALUE = "^value: "  # whatever it is
SLICE = "slice r1 r0 {} {}\nresult r1\n"
DOUBLED = "".join(f"concat r{i + 1} r{i} r{i}\n" for i in range(45)) + "reduce_max r46 r45\nresult r46\n"
LONG = "".join(f"relu r{i + 1} r{i}\n" for i in range(20000)) + "reduce_max r20001 r20000\nresult r20001\n"
SEARCHES = ("nann_beam_search", "nann_beam_search_memory", "nann_filtered_search")
SCANS = ("nann_scan_items", "nann_scan_items_memory")
WHERE_ZERO_FITS_NOT = "param vector\nmax r1 r0 p0\nreduce_max r2 r1\nresult r2\n"
FEATURE = {
    "ids": [ints(1, 2)],
    "weights": [],
    "num_outputs": 1,
    "tables_of": [0],
    "combiners": ["sum"],
    "max_norms": [-1.0],
    "default_ids": [-1],
    "prune": [True],
    "fill": [False],
    "weighted": [False],
}


def program(text: str, **arguments: Any) -> Callable[[], Any]:
    return changed("nann_scan_items", program=text, **{"parameters": []} | arguments)


def one_feature(segments: Any, dense_shape: Any, **arguments: Any) -> Callable[[], Any]:
    return changed("nann_fused_embedding_lookup", segments=[np.array(segments)], dense_shapes=[ints(*dense_shape)], **FEATURE | arguments)


def entries(**arguments: Any) -> Callable[[], Any]:
    return changed("nann_embedding_variable_rows", **arguments)


def searches() -> dict[str, tuple[Callable[[], Any], str]]:
    cases: dict[str, tuple[Callable[[], Any], str]] = {}
    for op in (*SEARCHES, *SCANS):
        for top_k in (2**34, 2**62):
            cases[f"{op} top_k {top_k}"] = changed(op, top_k=np.int64(top_k)), f"top_k must be at most 65536 for 6 items, got {top_k}"
        cases[f"{op} more than all items"] = changed(op, top_k=np.int64(9)), r"-1 *-1 *-1\]"
        cases[f"{op} batch"] = changed(op, batch=np.int64(2**61)), "batch must be at most 16777216"
    for op in SEARCHES:
        cases[f"{op} ef"] = changed(op, ef=ints(2**40, 2**62)), VALUE
        cases[f"{op} rounds"] = changed(op, rounds=ints(2**62, 2**62)), VALUE
        cases[f"{op} neighbour -1"] = changed(op, neighbor_values=[np.full(ITEMS, -1, np.int32)] * 2), r"item -1, which is outside 0\.\.5"
    return cases


def filtering() -> dict[str, tuple[Callable[[], Any], str]]:
    others = {"exact_limit": np.int64(-(2**63)), "passing": np.zeros([2, 1], np.uint8)}
    return {
        "filtered search, nothing passes": (changed("nann_filtered_search", **others), r"-1 -1 -1\]"),
        "filtered search, bits beyond the items": (
            changed("nann_filtered_search", passing=np.full([2, 1], 0xC0, np.uint8), exact_limit=np.int64(2**62)),
            r"-1 -1 -1\]",
        ),
        "filtered search, bitmaps of other items": (
            changed("nann_filtered_search", passing=np.zeros([2, 2], np.uint8)),
            r"passing must be \[2, 1\], got \[2,2\]",
        ),
        "merge with an item beyond the bitmap": (
            changed("nann_merge_filtered", candidates=ints(4, 6, 0)),
            r"candidates must be in 0\.\.5, got 6",
        ),
        "merge with a huge width": (changed("nann_merge_filtered", ef=np.int64(2**62), others_ef=ints(2**62, -(2**63))), VALUE),
        "merge without places": (
            changed(
                "nann_merge_filtered",
                pool_positions=np.zeros([2, 0], np.int64),
                pool_scores=np.zeros([2, 0], np.float32),
                other_positions=np.zeros([2, 0], np.int64),
                other_scores=np.zeros([2, 0], np.float32),
            ),
            VALUE,
        ),
        "lists of items of 2^62": (changed("nann_list_items", num_items=np.int64(2**62)), r"num_items must be in 0\.\.2147483647"),
        "filter with a category's item -1": (
            changed("nann_filter_items", category_items=np.full(ITEMS, -1, np.int32)),
            r"category_items must be in 0\.\.5",
        ),
        "filter of many users": (
            changed("nann_filter_items", excluded=np.zeros([2**40, 0], np.int64), categories=np.zeros([2**40, 0], np.int64)),
            "at most 16777216 users",
        ),
    }


INSTANCES: dict[str, tuple[Callable[[], Any], str]] = {
    **searches(),
    **filtering(),
    "memory of a zero-width batch": (
        changed(
            "nann_pair_and_category_memory",
            **dict.fromkeys(("item_sources", "category_sources", "item_positions"), np.zeros([2**40, 0], np.int64)),
        ),
        "ResourceExhausted",
    ),
    "walk of many users": (
        changed("nann_start_walk", batch=np.int64(2**40), num_items=np.int64(2**40)),
        r"needs batch in 0\.\.16777216 and num_items in 1\.\.2147483647",
    ),
    "walk of all numbers": (changed("nann_start_walk", num_items=np.int64(2**63 - 1)), "got 2 and 9223372036854775807"),
    "frontier with neighbour -1": (
        changed("nann_expand_frontier", neighbor_values=np.full(ITEMS, -1, np.int32)),
        r"item -1 of user 0 is outside 0\.\.5",
    ),
    "frontier with -1": (changed("nann_expand_frontier", frontier=ints(0, 3, -1)), r"item -1 of user 1 is outside 0\.\.5"),
    "frontier of high degree": (
        changed(
            "nann_expand_frontier",
            visited=np.zeros([1, 1], np.uint8),
            frontier=np.zeros(2**21, np.int64),
            frontier_splits=ints(0, 2**21),
            neighbor_values=np.zeros(2**21, np.int32),
            neighbor_row_splits=ints(0, 1),
        ),
        VALUE,
    ),
    "candidates of huge width": (changed("nann_gather_candidates", widths=[2**62]), "InvalidArgumentError"),
    "candidates of no width": (changed("nann_gather_candidates", item_embs=floats(ITEMS, 0), widths=[2**40]), VALUE),
    "slice beyond": (program(SLICE.format(2**63 - 1, 1)), "do not fit together"),
    "slice of more than a number": (program(SLICE.format(0, 2**64)), "a slice has two numbers"),
    "slice, then more": (program(SLICE.format(0, "1 junk")), "nothing may follow"),
    "45 concatenations": (program(DOUBLED), "a register may be at most 1048576"),
    "20000 instructions": (program(LONG), "at most 16384 instructions"),
    "more after a parameter": (program("param vector junk\n" + SLICE.format(0, 1)), "nothing may follow"),
    "more after the result": (program(SLICE.format(0, 1).strip() + " junk"), "nothing may follow"),
    "a signed register": (program("relu r1 r+0\nresult r1\n"), "an operand is missing"),
    "vector without elements": (program(WHERE_ZERO_FITS_NOT, parameters=[floats(1, 0)], item_embs=floats(ITEMS, 1)), "do not fit together"),
    "sparse rows from 2^31": (one_feature([[0, 0], [1, 0]], [2**31, 1]), "between 0 and 2.28 rows"),
    "sparse rows of 2^40": (one_feature([[0, 0], [1, 0]], [2**40 - 1, 1]), "between 0 and 2.28 rows"),
    "sparse rows of a product": (one_feature(np.zeros([2, 3], int), [2**20, 2**20, 1]), "between 0 and 2.28 rows"),
    "sparse row -1 first": (one_feature([[-1, 0], [1, 0]], [2, 1]), r"index -1 of value 0 must lie in \[0, 2\)"),
    "prune, rows from 2^31": (
        changed("nann_fused_embedding_prune_invalid_and_fill_empty_rows", dense_shape=ints(2**31, 2)),
        "between 0 and 2.28 rows",
    ),
    "prune, default beyond int32": (
        changed("nann_fused_embedding_prune_invalid_and_fill_empty_rows", ids=np.ones(3, np.int32), default_id=2**40),
        "default_id must fit",
    ),
    "parts of rows that overflow": (
        changed("nann_fused_embedding_partition_with_permutation", part_rows=ints(2**63 - 1, 5)),
        "part_rows must lie in",
    ),
    "positions, negative dims": (changed("nann_fused_embedding_positions_grad", dims=[-2, 7]), "dims must be at least 0, got -2, 7"),
    "rows with a step of rank 1": (entries(step=ints(1)), "step must be a scalar"),
    "rows without a slot's rank": (entries(slots=[Held(np.float32(1))]), "must be a matrix"),
    "rows with slots of strings": (entries(slots=[Held(np.array([[b"x" * 99]] * 2))]), "must be a matrix"),
    "rows with tables of rank 0": (entries(tables=[Held(np.float32(1))] * 2), "must be a matrix"),
    "rows with parts of two widths": (entries(tables=[Held(floats(2, 3)), Held(floats(2, 5))]), "must be of one type and width"),
    "rows with keys of floats": (entries(keys=Held(floats(4))), "keys of an EmbeddingVariable must be of type int64, got float"),
    "rows with a state of floats": (entries(state=Held(floats(6))), "must be of type int64, got float"),
    "rows with rows of int32": (entries(rows=Held(np.zeros(4, np.int32))), "must be of type int64, got int32"),
    "rows with too many given out": (entries(state=Held(ints(2, 2**62, 0, 1, 0, 3))), "cannot be; restore"),
    "rows with fewer than none given out": (entries(state=Held(ints(2, -5, 0, 1, 0, 3))), "cannot be; restore"),
    "find with keys of floats": (changed("nann_embedding_variable_find", keys=Held(floats(4))), "must be of type int64, got float"),
    "start beyond a short part": (
        changed(
            "nann_embedding_variable_start",
            tables=[Held(floats(100, DIM)), Held(floats(1, DIM))],
            new_rows=ints(101),
            values=floats(1, DIM),
        ),
        "lie in its part of 1 rows",
    ),
}
