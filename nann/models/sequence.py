"""How a sequence, what a scorer reads of a history, is laid out."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class SequenceParts:
    """What stands where in a sequence [B, L, H], H = item + event + user.

    Attributes:
        item: E, of the history's item.
        event: of its event: kind and time, where the model reads them.
        user: of the user, the same at all positions, padding included.
    """

    item: int
    event: int = 0
    user: int = 0

    @property
    def history(self) -> int:
        """Size of `of_history`."""
        return self.item + self.event

    @property
    def total(self) -> int:
        """H."""
        return self.item + self.event + self.user

    def of_item(self, sequence: tf.Tensor) -> tf.Tensor:
        """[B, L, item]."""
        return sequence[..., : self.item] if self.event or self.user else sequence

    def of_event(self, sequence: tf.Tensor) -> tf.Tensor:
        """[B, L, event]."""
        return sequence[..., self.item : self.history]

    def of_history(self, sequence: tf.Tensor) -> tf.Tensor:
        """[B, L, item + event]."""
        return sequence[..., : self.history] if self.user else sequence

    def of_user(self, sequence: tf.Tensor) -> tf.Tensor:
        """[B, user]."""
        return sequence[:, 0, self.history :]
