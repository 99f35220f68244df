"""The best of the simple methods at each list length, which is what a model has to beat there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nann.evaluation.comparison import Paired, compare_paired

BEST_BASELINE = "best_baseline"
OWN_SEARCH = "hnswlib"  # beside the baselines, but no simple method: the model's own vectors, searched the classic way
RESERVED = ("all", "retrieval")


def simple_names(names: Sequence[str]) -> list[str]:
    """Those of the names that are simple methods, in their order."""
    return [name for name in names if name not in (OWN_SEARCH, *RESERVED)]


def best_names(recalls: Mapping[str, Mapping[str, float]], ks: Sequence[int]) -> dict[int, str]:
    """K -> the simple method of highest recall@K, the first one of equals; empty where there is no simple method.

    Chosen on the users it is then compared on, which can only flatter the baseline, never the model.

    Args:
        recalls: name -> "recall@K" -> mean over users; what is no simple method is left out.
        ks: list lengths K.
    """
    names = simple_names(list(recalls))
    return {k: max(names, key=lambda name: recalls[name][f"recall@{k}"]) for k in ks} if names else {}


def against_best(
    recalls: Mapping[str, Mapping[str, float]],
    own: Mapping[int, NDArray[np.float64]],
    theirs: Mapping[str, Mapping[int, NDArray[np.float64]]],
) -> tuple[dict[str, Any], dict[int, Paired]]:
    """The best baseline at each K, and the paired comparison with it.

    Args:
        recalls: see `best_names`.
        own: K -> [S] or [R, S] recall@K of the model per user (and seed).
        theirs: name -> K -> [S] recall@K of a baseline, of the same users.

    Returns:
        ``name@K`` and ``recall@K`` of the best baseline at each K, and K -> model against it; both empty without a baseline.
    """
    names = best_names(recalls, list(own))
    figures: dict[str, Any] = {}
    for k, name in names.items():
        figures |= {f"name@{k}": name, f"recall@{k}": recalls[name][f"recall@{k}"]}
    paired = {k: compare_paired(np.atleast_2d(own[k]), np.atleast_2d(theirs[name][k])) for k, name in names.items()}
    return figures, paired
