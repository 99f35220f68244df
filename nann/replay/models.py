"""Makes the model of a window: from scratch on everything so far, or going on from the last window's."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from nann.config import ReplayConfig, TrainConfig
from nann.dataset import Items
from nann.models import Scorer, save_model
from nann.replay.batches import TimedBatches, training_positions
from nann.replay.log import ReplayLog
from nann.training.loop import TrainingData, train_scorer
from nann.training.records import remove_leftovers
from nann.training.warm_start import load_earlier_model, save_optimizer

SHARED_OPTIONS = (
    *("scorer", "emb_dim", "max_length", "batch_size", "num_neg", "learning_rate", "seed"),
    *("promote_after", "shared_rows"),
)


TABLE_COUNTS = ("table_bytes", "item_rows", "items_admitted", "items_evicted")


@dataclass(frozen=True)
class WindowModel:
    """A model and what it cost.

    Attributes:
        scorer: over the items and categories known at the window's end.
        figures: ``wall_seconds``, ``processor_seconds`` (all threads) of reading the last model, training and saving; ``steps``,
            ``samples``; ``table_bytes`` of the embedding tables; where they grow also ``item_rows``, ``items_admitted``, ``items_evicted``.
    """

    scorer: Scorer
    figures: dict[str, Any]


def make_model(
    log: ReplayLog,
    moment: int,
    *,
    since: int,
    epochs: float,
    embedding: str,
    kept_since: int,
    config: ReplayConfig,
    left_out: npt.NDArray[np.bool_],
    directory: Path,
    earlier: Path | None,
) -> WindowModel:
    """Trains on since <= time < moment and leaves the model, with its optimizer's moments, in a directory.

    Args:
        log: the events; those from the moment on are not looked at.
        moment: unix seconds.
        since: begin of the training events.
        epochs: passes over them.
        embedding: as for train.
        kept_since: own rows of ids that were last met before go, unix seconds; the models before must have had as many epochs.
        config: the options.
        left_out: [U] users that do not train.
        directory: to make, replacing what is there.
        earlier: directory of the model to go on from; None: from scratch.

    Raises:
        ValueError: there is no event to train on, and no model to go on from.
    """
    wall, processor = time.perf_counter(), time.process_time()
    gap: dict[str, Any] = {"min_gap_seconds": round(60 * config.gap_minutes), "left_out": left_out}
    positions = training_positions(log, since, moment, **gap)
    if not len(positions) and earlier is None:
        raise ValueError("the first window needs at least one event to train on, this one has none")
    met = len(training_positions(log, kept_since, moment, **gap)) if embedding != "static" and config.evict_windows else 0
    options = _options(config, epochs=epochs, embedding=embedding, samples=len(positions), met=met)
    batches = TimedBatches(log, positions, max_length=config.max_length, config=options)
    items = _items(log, moment)
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # Candidates of the same hour, drawn as they were read: what is left to learn is who prefers what, not how much is read of each.
    noise = np.zeros(len(items.item_ids), np.float32)
    trained = train_scorer(
        TrainingData(batches, items, noise, config.max_length),
        options,
        tf.distribute.get_strategy(),
        partial,
        earlier=None if earlier is None else load_earlier_model(earlier),
    )
    save_model(trained.scorer, partial, config=options, max_length=config.max_length, keep_moments=True)
    save_optimizer(trained.optimizer, partial)
    remove_leftovers(partial)
    shutil.rmtree(partial / "events")
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
    figures = {
        "wall_seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
        "steps": trained.summary["steps"],
        "samples": trained.summary["samples"],
        "items_added": trained.summary.get("items_added", len(items.item_ids) - 1),
        **{name: trained.summary[name] for name in TABLE_COUNTS if name in trained.summary},
    }
    return WindowModel(trained.scorer, figures)


def _options(config: ReplayConfig, *, epochs: float, embedding: str, samples: int, met: int) -> TrainConfig:
    """Those of a window's training.

    Args:
        config: of the replay.
        epochs: passes over the samples.
        embedding: as for train.
        samples: of the window.
        met: events since which own rows of ids that were not met go; 0: they stay.
    """
    values: dict[str, Any] = {
        **{name: getattr(config, name) for name in SHARED_OPTIONS},
        "epochs": epochs,
        "embedding": embedding,
        "item_init": 0,
        "validate_users": 0,
        "keep_moments": True,
        "checkpoint_seconds": math.inf,  # a window is short enough to be begun anew
        "xla": epochs * samples / config.batch_size >= config.xla_from_steps,
    }
    if embedding != "static" and config.evict_windows:
        values["evict_after"] = max(1, math.ceil(epochs * met / config.batch_size))  # steps since then
    return TrainConfig(**values)


def _items(log: ReplayLog, moment: int) -> Items:
    """The items known at a moment; nothing is counted."""
    num_items = log.items_before(moment)
    nothing = np.zeros(num_items + 1)
    known = log.category_rows[: num_items + 1]
    return Items(np.zeros(num_items + 1, np.int64), known, nothing, nothing.astype(np.int64), log.categories_before(moment))
