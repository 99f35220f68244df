"""Step `extract`: a trained scorer in, the vector of every item out."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from nann.artifacts import StepResult
from nann.config import ExtractConfig
from nann.dataset import Dataset
from nann.errors import ArtifactError
from nann.models import ItemEncoder, load_model
from nann.steps.opening import open_step

logger = logging.getLogger(__name__)


def extract(*, model: Path, dataset: Path, embeddings: Path, config: ExtractConfig, overwrite: bool = False) -> StepResult:
    """Computes e_v of every item of the catalogue.

    Args:
        model: artifact of `train`.
        dataset: the artifact of `convert` the model was trained on.
        embeddings: directory to write: ``item_ids.npy`` [N] int64 item rows, ascending, and ``item_embs.npy`` [N, D] float32.
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, the model is of another dataset, or a vector is not finite.
    """
    writer = open_step("extract", locals())
    if writer.is_current:
        return writer.current()
    scorer, items = load_model(model, allow_own=config.allow_own_models), Dataset(dataset).items()
    rows = np.arange(1, len(items.item_ids), dtype=np.int64)
    encode = ItemEncoder(scorer, items.category_rows)
    vectors = np.empty((len(rows), scorer.item_dim), np.float32)
    for first in range(0, len(rows), config.batch_size):
        block = rows[first : first + config.batch_size]
        vectors[first : first + config.batch_size] = encode(block).numpy()
    if not np.isfinite(vectors).all():
        bad = int(rows[~np.isfinite(vectors).all(axis=1)][0])
        raise ArtifactError(f"the vector of item row {bad} is not finite; the model in {model} is broken, train it again")
    with writer as directory:
        np.save(directory / "item_ids.npy", rows)
        np.save(directory / "item_embs.npy", vectors)
        writer.metrics.update({"num_items": len(rows), "item_dim": scorer.item_dim})
    logger.info("%s item vectors of %d floats", f"{len(rows):,}", scorer.item_dim)
    return writer.result()
