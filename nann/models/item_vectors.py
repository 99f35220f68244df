"""Item vectors of a whole catalogue."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.models.scorer import Scorer


class ItemEncoder:
    """Computes e_v block by block.

    Args:
        scorer: the model; its weights are read at every call.
        category_rows: [N + 1] int32 category row by item row.
    """

    def __init__(self, scorer: Scorer, category_rows: npt.NDArray[np.int32]) -> None:
        self._categories = category_rows
        self._encode = tf.function(scorer.encode_item, autograph=False, reduce_retracing=True)

    def __call__(self, item_rows: npt.NDArray[np.integer]) -> tf.Tensor:
        """Vectors [n, D] float32 of item rows [n]."""
        return self._encode(item_rows, self._categories[item_rows].astype(item_rows.dtype))
