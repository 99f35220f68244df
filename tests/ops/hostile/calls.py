"""A good call of every native op: arguments by name, from which bad ones are made. TensorFlow is imported when a call is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arguments = dict[str, Any]
BATCH, ITEMS, DIM = 2, 6, 3


@dataclass(frozen=True)
class Held:
    """The value of a variable; the op gets its handle."""

    value: np.ndarray


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*shape: int) -> np.ndarray:
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def made(value: Any) -> Any:
    """An argument as an op takes it; variables live as long as their handles' list does."""
    import tensorflow as tf

    if isinstance(value, Held):
        variable = tf.Variable(value.value)
        KEPT.append(variable)
        return variable.handle
    if isinstance(value, list):
        return [made(entry) for entry in value]
    return value


KEPT: list[Any] = []


def call(name: str, arguments: Arguments) -> Any:
    """Runs an op, by its name in Python."""
    from ops import native

    KEPT.clear()
    return getattr(native.load_library(), name)(**{key: made(value) for key, value in arguments.items()})


RING = {"neighbor_values": np.array([1, 2, 3, 4, 5, 0], np.int32), "neighbor_row_splits": np.arange(ITEMS + 1)}
USERS = {"batch": np.int64(BATCH), "top_k": np.int64(3)}
SCORER = {"item_embs": floats(ITEMS, DIM), "parameters": [floats(BATCH, DIM, 1)]}
PROGRAM = {"program": "param matrix\nmatmul r1 r0 p0 - -\nresult r1\n"}
WALK = {
    "ef": ints(2, 2),
    "rounds": ints(3, 1),
    "enter_points": ints(0, 3),
    "neighbor_values": [RING["neighbor_values"]] * 2,
    "neighbor_row_splits": [RING["neighbor_row_splits"]] * 2,
}
MEMORY = {
    "memory_row_splits": ints(0, 2, 3),
    "memory_positions": ints(5, 1, 2),
    "memory_values": floats(3),
    "item_scale": floats(ITEMS),
    "item_prior": floats(ITEMS),
}
PASSING = np.array([[0b101101], [0b110]], np.uint8)
POOL = {"pool_positions": np.array([[1, -1], [2, 3]]), "pool_scores": np.array([[1, -np.inf], [2, 1]], np.float32)}

SPARSE = {
    "ids": [ints(1, 2, 0), ints(3, 1)],
    "segments": [np.array([[0, 0], [0, 1], [1, 0]]), ints(0, 1, 2)],
    "dense_shapes": [ints(BATCH, 2), ints()],
    "weights": [floats(3)],
}
GROUP = {
    "concat": False,
    "dims": [DIM],
    "table_parts": [2],
    "strategies": ["mod"],
    "tables_of": [0, 0],
    "combiners": ["mean", "sum"],
    "max_norms": [-1.0, -1.0],
    "default_ids": [0, -1],
    "prune": [True, True],
    "fill": [True, True],
    "weighted": [True, False],
}
PARTS = [floats(2, DIM), floats(2, DIM)]
HELD_PARTS = [Held(part) for part in PARTS]
GRADIENTS = {"gradients": [floats(BATCH, DIM), floats(BATCH, DIM)]}
POST = {
    "gathered": [floats(2, DIM), floats(1, DIM)],
    "permutation": ints(0, 2, 1),
    "positions": ints(0, 1, 1),
    "row_splits": ints(0, 2, 3),
    "weights": floats(3),
    "combiner": "mean",
    "max_norm": -1.0,
}
KEYS = {"keys": Held(ints(7, 8, 0, 0)), "state": Held(ints(2, 1, 0, 1, 0, 3))}
ENTRIES = {name: Held(ints(1, -1, 0, 0)) for name in ("rows", "frequencies", "versions")}


def grad(value: np.ndarray) -> Arguments:
    return {"gradient": value}


def lookups() -> dict[str, Arguments]:
    group = SPARSE | GROUP
    calls: dict[str, Arguments] = {}
    for ending, parts in {"": {"tables": PARTS}, "_resource": {"tables": HELD_PARTS, "T": np.float32}}.items():
        typed = {key: value for key, value in parts.items() if key != "T"}
        calls[f"nann_fused_embedding_lookup{ending}"] = parts | group | {"num_outputs": 2}
        calls[f"nann_fused_embedding_grad{ending}"] = typed | group | GRADIENTS
        calls[f"nann_fused_embedding_weights_grad{ending}"] = typed | group | GRADIENTS
        calls[f"nann_fused_embedding_positions{ending}"] = parts | {"ids": [np.array([[1, 0], [0, 1]])] * 2, "dims": [DIM, DIM]}
    return calls


OPTIONS = {"options": np.full(10, 0.1)}
PAIRS = {
    "item_sources": np.array([[0, 1], [2, 1]]),
    "category_sources": np.array([[0, 3], [0, 0]]),
    "item_positions": np.array([[-1, 2], [5, 0]]),
    "table_row_splits": ints(0, 0, 2, 3, 3),
    "table_positions": np.array([1, 4, 5], np.int32),
    "table_values": np.array([0.5, 1, 2], np.float32),
}
CALLS: dict[str, Arguments] = {
    "nann_start_walk": {"enter_points": ints(0, 3), "batch": np.int64(BATCH), "num_items": np.int64(ITEMS)},
    "nann_expand_frontier": {"visited": np.zeros([BATCH, 1], np.uint8), "frontier": ints(0, 3, 5), "frontier_splits": ints(0, 2, 3)} | RING,
    "nann_gather_candidates": {
        "item_embs": floats(ITEMS, DIM),
        "scales": floats(0),
        "candidates": ints(1, 2, 5),
        "candidate_splits": ints(0, 2, 3),
        "widths": [2, 4],
    },
    "nann_merge_top_ef": POOL
    | {"candidates": ints(4, 5, 0), "candidate_splits": ints(0, 2, 3), "scores": floats(BATCH, 2), "ef": np.int64(1)},
    "nann_beam_search": USERS | SCORER | WALK | PROGRAM,
    "nann_beam_search_memory": USERS | SCORER | WALK | PROGRAM | MEMORY | {"memory_entries": np.int64(1)},
    "nann_filter_items": {
        "excluded": np.array([[0, -1], [5, 9]]),
        "categories": np.array([[0, 0], [1, 7]]),
        "available": np.array([True, True, False, True, True, True]),
        "category_items": np.array([4, 0, 1, 2, 3, 5], np.int32),
        "category_row_splits": ints(0, 1, 4, 6),
    },
    "nann_list_items": {"passing": PASSING, "num_items": np.int64(ITEMS)},
    "nann_merge_filtered": POOL
    | {"other_positions": np.array([[4], [-1]]), "other_scores": np.array([[3], [-np.inf]], np.float32)}
    | {"candidates": ints(4, 5, 0), "candidate_splits": ints(0, 2, 3), "scores": floats(BATCH, 2)}
    | {"passing": PASSING, "num_items": np.int64(ITEMS), "ef": np.int64(1), "others_ef": ints(1, 0)},
    "nann_filtered_search": USERS
    | SCORER
    | WALK
    | PROGRAM
    | MEMORY
    | {"memory_entries": np.int64(1), "with_memory": True, "passing": PASSING, "prior": floats(ITEMS), "exact_limit": np.int64(2)},
    "nann_scan_items": USERS | SCORER | PROGRAM,
    "nann_scan_items_memory": USERS | SCORER | PROGRAM | MEMORY,
    "nann_pair_memory": PAIRS | {"decay": np.float32(0.5), "rule_scale": np.float32(1), "own": floats(2), "gain": floats(ITEMS)},
    "nann_pair_and_category_memory": PAIRS
    | {name: np.float32(0.5) for name in ("decay", "rule_scale", "category_weight", "category_scale", "category_gain")}
    | {"own": floats(2), "gain": floats(ITEMS)},
    **lookups(),
    "nann_fused_embedding_update": {"tables": HELD_PARTS}
    | SPARSE
    | GROUP
    | GRADIENTS
    | OPTIONS
    | {"slots": HELD_PARTS, "optimizer": "adagrad"},
    "nann_fused_embedding_update_rows": {
        "table": Held(PARTS[0]),
        "slots": [Held(PARTS[1])],
        "indices": ints(0, 1, 1),
        "values": floats(3, DIM),
    }
    | OPTIONS
    | {"optimizer": "adagrad"},
    "nann_fused_embedding_positions_grad": {
        "ids": [np.array([[1, 0], [2, 1]])] * 2,
        "gradients": [floats(2, 2, 5)],
        "num_tables": 2,
        "dims": [2, 3],
    },
    "nann_fused_embedding_prune_invalid_and_fill_empty_rows": {
        "ids": ints(1, -2, 0),
        "segments": np.array([[0, 0], [0, 1], [2, 0]]),
        "dense_shape": ints(3, 2),
        "weights": floats(3),
        "combiner": "mean",
        "default_id": 0,
        "prune": True,
        "fill": True,
    },
    "nann_fused_embedding_unique_with_counts": {"ids": ints(4, 1, 4)},
    "nann_fused_embedding_partition_with_permutation": {"ids": ints(1, 4, 0), "part_rows": ints(3, 2), "num_parts": 2, "strategy": "mod"},
    "nann_fused_embedding_post_lookup": POST,
    "nann_fused_embedding_post_lookup_grad": POST | grad(floats(BATCH, DIM)),
    "nann_fused_embedding_post_lookup_weights_grad": POST | grad(floats(BATCH, DIM)),
    "nann_embedding_variable_find": KEYS | {"values": ENTRIES["rows"], "ids": ints(7, 9, -1), "prune": True},
    "nann_embedding_variable_rows": KEYS
    | ENTRIES
    | {
        "tables": HELD_PARTS,
        "bloom": [],
        "slots": [Held(PARTS[0])],
        "ids": ints(7, 9, 11, 13),
        "mask": [np.ones(4, np.int32)],
        "step": np.int64(-1),
        "filter_frequency": 1,
        "prune": True,
    },
    "nann_embedding_variable_start": {"tables": HELD_PARTS, "new_rows": ints(2, 3), "values": floats(2, DIM), "rows": ints(2, 3)},
}


def changed(name: str, **arguments: Any) -> Callable[[], Any]:
    """The good call of an op but for some arguments."""
    return lambda: call(name, CALLS[name] | arguments)
