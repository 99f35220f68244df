"""Magnitude pruning of the score network, by whole hidden units, so that what is left is smaller matrices and not zeros to multiply by.

What is left takes over the work of what went: each layer is fitted anew, by least squares, to what it put out before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.errors import ModelError
from nann.models.layers import BATCH_NORM_EPSILON, BatchNorm, Dense, PRelu
from nann.models.score_network import Prunable, ScoreNetwork
from nann.models.scorer import Scorer, UserState

RIDGE = 1e-4  # of the mean square of a layer's inputs: keeps weights that few samples tell nothing about
Kept = npt.NDArray[np.int64]


def first_layer_sums(scorer: Scorer, user_state: UserState, items: tf.Tensor) -> np.ndarray:
    """What a scorer gives to its score network, by which it can be fitted after pruning.

    Args:
        scorer: a trained scorer.
        user_state: of B users.
        items: [B or 1, n, D] item vectors.

    Returns:
        [B * n, units of the first layer] float32.

    Raises:
        ModelError: the scorer has no score network.
    """
    network = _prunable(scorer).network
    seen: list[np.ndarray] = []
    network.observer = lambda first: seen.append(first.numpy().reshape(-1, first.shape[-1]))
    try:
        scorer.score(user_state, items)
    finally:
        network.observer = None
    return np.concatenate(seen)


def prune_score_network(scorer: Scorer, share: float, sums: np.ndarray | None = None) -> dict[str, Any]:
    """Takes the hidden units of least weight out of every hidden layer of a trained scorer's score network, in place.

    Where samples are given, each layer behind a pruned one is then fitted to what it put out before, from what is left before it: layer
    after layer by ridge regression, the earlier layers as fitted (arXiv 1707.06168).

    A unit's weight is the norm of what comes in, scaled as batch normalisation scales it, times the norm of what goes out (magnitude
    pruning, arXiv 1506.02626, applied to units as in arXiv 1608.08710, section 3.1).

    Args:
        scorer: its weights are replaced; it can be evaluated and frozen, no longer trained.
        share: of each hidden layer's units, rounded down; at least one unit stays.
        sums: [n, units] samples of `first_layer_sums`; None: nothing is fitted.

    Returns:
        ``units``, hidden units left per layer, ``weights``, number of weights of the network before and after, and ``fitted_on``, the
        number of samples.

    Raises:
        ModelError: the scorer has no score network.
    """
    prunable = _prunable(scorer)
    network, incoming = prunable.network, list(prunable.first)
    before = _size(network, incoming)
    layers: list[tuple[list[Dense], BatchNorm | None, PRelu, Dense]] = [
        (incoming, None, network.activation[0], network.second),
        ([network.second], network.norm[0], network.activation[1], network.third),
        ([network.third], network.norm[1], network.activation[2], network.last),
    ]
    # all layers are judged before any is cut
    kept = [_heaviest(*layer, share=share) for layer in layers]
    wanted = [] if sums is None else _outputs(network, sums)
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
    if sums is not None:
        _fit(network, sums[:, kept[0]], [wanted[0][:, kept[1]], wanted[1][:, kept[2]], wanted[2]])
    fitted_on = 0 if sums is None else len(sums)
    return {"units": [len(units) for units in kept], "weights": [before, _size(network, incoming)], "fitted_on": fitted_on}


def _prunable(scorer: Scorer) -> Prunable:
    if scorer.prunable is None:
        raise ModelError(f"{scorer.name} has no score network to prune; leave out --prune, or train --scorer nann")
    return scorer.prunable


def _outputs(network: ScoreNetwork, sums: np.ndarray) -> list[np.ndarray]:
    """[n, *] what each layer behind the first puts out, before normalisation and activation."""
    x, found = tf.constant(sums), []
    for layer, dense in enumerate((network.second, network.third, network.last)):
        if layer:
            x = network.norm[layer - 1](x, False)
        x = dense(network.activation[layer](x))
        found.append(x.numpy())
    return found


def _fit(network: ScoreNetwork, sums: np.ndarray, wanted: list[np.ndarray]) -> None:
    """Fits the layers one after the other, in place."""
    x = tf.constant(sums)
    for layer, dense in enumerate((network.second, network.third, network.last)):
        if layer:
            x = network.norm[layer - 1](x, False)
        x = network.activation[layer](x)
        _fit_layer(dense, x.numpy().astype(np.float64), wanted[layer])
        x = dense(x)


def _fit_layer(dense: Dense, inputs: np.ndarray, wanted: np.ndarray) -> None:
    """Ridge regression that draws towards the weights as they are. Without a bias a common shift is lost, which moves nothing in a list."""
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    bias = np.zeros(wanted.shape[1]) if dense.bias is None else dense.bias.numpy()
    weights = np.concatenate([dense.kernel.numpy(), bias[np.newaxis]]).astype(np.float64)
    gram = inputs.T @ inputs
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    weights += np.linalg.solve(gram, inputs.T @ (wanted - inputs @ weights))
    dense.kernel.assign(weights[:-1].astype(np.float32))
    if dense.bias is not None:
        dense.bias.assign(weights[-1].astype(np.float32))


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
