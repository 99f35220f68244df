"""Products of item rows with a matrix of the user, and linear layers beside them that are cheaper on the user's side.

With h the items' rows, K and S matrices of the user, and W a layer's weights:

- ``(h W + b) K = h (W K) + b K``: a layer before the product is applied to the user's matrix;
- ``(a S) W = a (S W)``: so is a layer behind it.

Either takes FLOPs once per user and saves them per item; it is done where the fewest items per user that the caller expects pay for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import tensorflow as tf

from ops.graph_optimizer.einsums import Product
from ops.graph_optimizer.expansion import Expander
from ops.graph_optimizer.layers import LayerBehind, LinearLayer

UNKNOWN_SIZE = 32  # assumed for comparing costs only


def size_per_row(tensor: tf.Tensor) -> int:
    """Elements per row."""
    return math.prod(UNKNOWN_SIZE if size is None else size for size in tensor.shape[1:])


@dataclass(frozen=True)
class UserProduct:
    """A product of item rows with a matrix of the user.

    Attributes:
        user: the user's matrix, [U, ...].
        item: the items' rows, [R, ...].
        user_labels: of the user's axes.
        item_labels: of the items' axes.
        result: of the result's axes.
        user_first: the order of the operands.
        shift: added to the product [U, n, ...], or None.
    """

    user: tf.Tensor
    item: tf.Tensor
    user_labels: str
    item_labels: str
    result: str
    user_first: bool
    shift: tf.Tensor | None = None

    @classmethod
    def of(cls, product: Product, user: int) -> UserProduct:
        """The product whose operand number `user` is the user's matrix."""
        tensors = [
            tf.squeeze(tensor, axis=axes) if axes else tensor for tensor, axes in zip(product.operands, product.dropped, strict=True)
        ]
        return cls(tensors[user], tensors[1 - user], product.labels[user], product.labels[1 - user], product.result, user == 0)

    def rows(self, expander: Expander, name: str) -> tf.Tensor:
        """The product [R, ...], taken with the items of a user side by side."""
        batch = self.user_labels[0]
        operands = [(self.user_labels, self.user), (f"{batch}n{self.item_labels[1:]}", expander.pad(self.item))]
        (left, x), (right, y) = operands if self.user_first else operands[::-1]
        product = tf.einsum(f"{left},{right}->{batch}n{self.result[1:]}", x, y, name=name)
        return expander.unpad(product if self.shift is None else product + self.shift)

    def gains_before(self, layer: LinearLayer, items_per_user: float) -> bool:
        """Whether the layer that made the items' rows can go to the user's side, and takes fewer FLOPs there."""
        inner = self.item_labels[-1]
        if inner not in self.user_labels or inner in self.result or not set(self.user_labels) - {inner} <= set(self.result):
            return False
        narrow, wide = (int(size) for size in layer.weights.shape)
        places = size_per_row(self.user) // max(wide, 1)
        return items_per_user * (narrow * wide + places * (wide - narrow)) > places * narrow * wide

    def fold_before(self, layer: LinearLayer) -> UserProduct:
        """The product with that layer on the user's side; what its bias adds becomes the shift."""
        inner, of_user = self.item_labels[-1], self.user_labels
        labels = of_user.replace(inner, "z")
        item = tf.reshape(layer.inputs, [-1, *([1] * (len(self.item_labels) - 2)), int(layer.weights.shape[0])])
        user = tf.einsum(f"{of_user},z{inner}->{labels}", self.user, layer.weights)
        return replace(
            self, user=user, item=item, user_labels=labels, item_labels=self.item_labels[:-1] + "z", shift=self._shift(layer.bias)
        )

    def _shift(self, bias: tf.Tensor | None) -> tf.Tensor | None:
        if bias is None:
            return None
        kept = "".join(label for label in self.result if label in self.user_labels)
        shift = tf.expand_dims(tf.einsum(f"{self.user_labels},{self.item_labels[-1]}->{kept}", self.user, bias), 1)  # for all of its items
        for place, label in enumerate(self.result[1:], start=2):
            if label not in self.user_labels:
                shift = tf.expand_dims(shift, place)
        return shift

    def gains_behind(self, layer: LayerBehind, items_per_user: float) -> bool:
        """Whether the layer that reads the result can go to the user's side, and takes fewer FLOPs there."""
        outer, others = self.result[-1], self.result[1:-1]
        if self.shift is not None or outer not in self.user_labels or outer in self.item_labels:
            return False
        if any(label not in self.item_labels or self.item.shape[self.item_labels.index(label)] != 1 for label in others):
            return False  # the layer takes the last axis of [R, size]: all others must be of size 1
        if self.user.shape[self.user_labels.index(outer)] != layer.size:
            return False
        places = size_per_row(self.user) // max(layer.size, 1)
        saved = places * layer.size + layer.size * layer.width - places * layer.width
        return items_per_user * saved > places * layer.size * layer.width

    def fold_behind(self, weights: tf.Tensor) -> UserProduct:
        """The product with a layer's weights [size, width] on the user's side."""
        outer = self.result[-1]
        labels = self.user_labels.replace(outer, "z")
        user = tf.einsum(f"{self.user_labels},{outer}z->{labels}", self.user, weights)
        return replace(self, user=user, user_labels=labels, result=self.result[:-1] + "z")
