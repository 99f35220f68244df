"""Magnitude pruning of the score network, by whole hidden units, so that what is left is smaller matrices and not zeros to multiply by."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.errors import ModelError
from nann.models.layers import BATCH_NORM_EPSILON, BatchNorm, Dense, PRelu
from nann.models.scorer import ScoreNetwork, Scorer

Kept = npt.NDArray[np.int64]


def prune_score_network(scorer: Scorer, share: float) -> dict[str, Any]:
    """Takes the hidden units of least weight out of every hidden layer of a trained scorer's score network, in place.

    A unit's weight is the norm of what comes in, scaled as batch normalisation scales it, times the norm of what goes out (magnitude
    pruning, arXiv 1506.02626, applied to units as in arXiv 1608.08710, section 3.1).

    Args:
        scorer: its weights are replaced; it can be evaluated and frozen, no longer trained.
        share: of each hidden layer's units, rounded down; at least one unit stays.

    Returns:
        ``units``, hidden units left per layer, and ``weights``, number of weights of the network before and after.

    Raises:
        ModelError: the scorer has no score network.
    """
    network = getattr(scorer, "score_network", None)
    if not isinstance(network, ScoreNetwork):
        raise ModelError(f"{scorer.name} has no score network to prune; leave out --prune, or train nann or nann-pool")
    parts = [getattr(scorer, name, None) for name in ("user_first", "value_first", "item_first")]
    incoming = [dense for dense in parts if dense is not None]
    before = _size(network, incoming)
    layers: list[tuple[list[Dense], BatchNorm | None, PRelu, Dense]] = [
        (incoming, None, network.activation[0], network.second),
        ([network.second], network.norm[0], network.activation[1], network.third),
        ([network.third], network.norm[1], network.activation[2], network.last),
    ]
    # all layers are judged before any is cut
    kept = [_heaviest(*layer, share=share) for layer in layers]
    for (into, norm, activation, out), units in zip(layers, kept, strict=True):
        for dense in into:
            _cut(dense, "kernel", units, axis=1)
            if dense.bias is not None:
                _cut(dense, "bias", units)
        if norm is not None:
            for name in ("gamma", "beta", "moving_mean", "moving_variance"):
                _cut(norm, name, units)
        _cut(activation, "alpha", units)
        _cut(out, "kernel", units)
    return {"units": [len(units) for units in kept], "weights": [before, _size(network, incoming)]}


def _heaviest(into: list[Dense], norm: BatchNorm | None, activation: PRelu, out: Dense, *, share: float) -> Kept:
    """The units of a layer to keep, ascending."""
    weight = np.sqrt(sum(np.square(dense.kernel.numpy()).sum(axis=0) for dense in into))
    if norm is not None:
        weight *= np.abs(norm.gamma.numpy()) / np.sqrt(norm.moving_variance.numpy() + BATCH_NORM_EPSILON)
    weight *= np.linalg.norm(out.kernel.numpy(), axis=1)
    count = max(1, len(weight) - int(share * len(weight)))
    return np.sort(np.argsort(-weight, kind="stable")[:count])


def _cut(module: tf.Module, name: str, units: Kept, axis: int = 0) -> None:
    old = getattr(module, name)
    setattr(module, name, tf.Variable(np.take(old.numpy(), units, axis=axis), trainable=False, name=name))


def _size(network: ScoreNetwork, incoming: list[Dense]) -> int:
    return int(sum(np.prod(dense.kernel.shape) for dense in (*incoming, network.second, network.third, network.last)))
