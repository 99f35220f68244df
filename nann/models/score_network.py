"""The network that scores a user with an item, shared by the scorers that have one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from nann.models.layers import BatchNorm, Dense, PRelu, Seeds

SCORE_SIZES = (128, 64, 32)


class ScoreNetwork(tf.Module):
    """MLP 128 -> 64 -> 32 -> 1 over [user part, item part]; the first layer comes in split, as the sum of both parts' products.

    Attributes:
        observer: called with the first layer's sums whenever the network is; None: nothing is.
    """

    def __init__(self, seeds: Seeds, *, name: str = "score_network") -> None:
        super().__init__(name=name)
        self.observer: Callable[[tf.Tensor], object] | None = None
        first, second, third = SCORE_SIZES
        self.norm = [BatchNorm(second), BatchNorm(third)]
        self.activation = [PRelu(first), PRelu(second), PRelu(third)]
        self.second = Dense(first, second, seeds, name="second")
        self.third = Dense(second, third, seeds, name="third")
        self.last = Dense(third, 1, seeds, use_bias=False, name="last")

    def __call__(self, first: tf.Tensor, training: bool) -> tf.Tensor:
        """Maps the first layer's sums [B, n, 128] to [B, n]."""
        if self.observer is not None:
            self.observer(first)
        x = self.activation[0](first)
        x = self.activation[1](self.norm[0](self.second(x), training))
        x = self.activation[2](self.norm[1](self.third(x), training))
        return tf.squeeze(self.last(x), axis=-1)


@dataclass(frozen=True)
class Prunable:
    """A score network and what is summed into it, whose hidden units can be removed without changing anything else.

    Attributes:
        network: the layers after the first.
        first: the layers whose outputs [..., 128] are summed to the first layer; units are removed from all of them alike.
    """

    network: ScoreNetwork
    first: tuple[Dense, ...]
