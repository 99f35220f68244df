"""Item vectors of a whole catalogue, with the neighbours a scorer may want beside each item."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.models.scorer import Scorer
from nann.neighborhood import InteractionGraph, NeighborSampler

SEED = 1


class ItemEncoder:
    """Computes e_v block by block.

    For a scorer with a neighbourhood a vector is the mean over several samples of it, drawn with a fixed seed: what the networks saw in
    training was one sample at a time, and a mean of several depends less on any.

    Args:
        scorer: the model; its weights are read at every call.
        category_rows: [N + 1] int32 category row by item row.
        graph: of the training users, if the scorer has a neighbourhood.
        samples: drawn per item.

    Raises:
        ValueError: the scorer has a neighbourhood and there is no graph.
    """

    def __init__(
        self, scorer: Scorer, category_rows: npt.NDArray[np.int32], graph: InteractionGraph | None = None, *, samples: int = 1
    ) -> None:
        self._sampler = None
        if scorer.neighborhood is not None:
            if graph is None:
                raise ValueError("this scorer computes item vectors from neighbours; give the graph of its training users")
            self._sampler = NeighborSampler(graph, scorer.neighborhood)
        self._categories, self._samples = category_rows, samples
        self._encode = tf.function(scorer.encode_item, autograph=False, reduce_retracing=True)

    def __call__(self, item_rows: npt.NDArray[np.integer]) -> tf.Tensor:
        """Vectors [n, D] float32 of item rows [n]; equal calls give equal vectors."""
        if self._sampler is None:
            return self._encode(item_rows, self._categories[item_rows].astype(item_rows.dtype))
        rng = np.random.default_rng([SEED, int(item_rows[0])])
        total = 0.0
        for _ in range(self._samples):
            rows = np.concatenate([item_rows[:, np.newaxis], self._sampler.sample(rng, item_rows)], axis=1).astype(item_rows.dtype)
            total += self._encode(rows, self._categories[rows].astype(rows.dtype))
        return total / self._samples
