"""Scorers: build one from a training config, load a trained one from a model artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from data_prep.json_text import read_json, write_json
from nann.config import TrainConfig
from nann.dataset.inputs import FeatureLists, Features, ModelInput, RequestInput
from nann.errors import ArtifactError
from nann.models.classes import load_class, require_features, require_interface, source_digest
from nann.models.item_vectors import ItemEncoder
from nann.models.pruning import first_layer_sums, prune_score_network
from nann.models.scorer import Scorer, UserState
from nann.models.tables import TableOptions

__all__ = [
    "ItemEncoder",
    "Scorer",
    "UserState",
    "build_model",
    "first_layer_sums",
    "load_class",
    "load_model",
    "prune_score_network",
    "save_model",
    "source_digest",
]


def build_model(config: TrainConfig, *, num_items: int, num_categories: int, features: Features | None = None) -> Scorer:
    """A scorer with initial values drawn from the config's seed.

    Args:
        config: names the scorer, the embedding size and the seed.
        num_items: item rows are 1..num_items.
        num_categories: category rows are 1..num_categories.
        features: by name what it reads beside items and categories.

    Raises:
        ModelError: a class of the user's own cannot be imported, or does not work together.
    """
    if features:
        require_features(config.scorer)
    more = {"features": features} if features else {}
    scorer = load_class(config.scorer).from_config(config, num_items=num_items, num_categories=num_categories, **more)
    require_interface(scorer, config.scorer)
    if config.embedding != "static":
        scorer.item_embedding.grow(TableOptions(config.promote_after, config.shared_rows if config.embedding == "adaptive" else 0))
    return scorer


def save_model(scorer: Scorer, directory: Path, *, config: TrainConfig, max_length: int, keep_moments: bool = False) -> None:
    """Writes ``config.json`` and the checkpoint ``weights.*`` of a trained scorer into a directory.

    Tables that grow are written as `ops.embedding.variable.snapshot` says: their keys are item rows and category rows. With
    ``keep_moments`` the optimizer's moments of their rows are there, too; those of all other variables never are.
    """
    if not keep_moments:
        scorer.item_embedding.forget_slots()
    description = {
        "train": config.model_dump(exclude={"teacher"}),
        "num_items": scorer.num_items,
        "num_categories": scorer.num_categories,
        "item_dim": scorer.item_dim,
        "max_length": max_length,
        "source_sha256": source_digest(config.scorer),
        "features": scorer.item_embedding.describe(),
    }
    tf.train.Checkpoint(scorer=scorer).write(str(directory / "weights"))
    write_json(directory / "config.json", description)


def load_model(directory: Path, *, trainable: bool = False) -> Scorer:
    """The scorer that `save_model` wrote, with its weights.

    Args:
        directory: of the model artifact.
        trainable: tables that grow still do; otherwise they are made plain variables, which any graph can hold.

    Raises:
        ArtifactError: the directory holds no such model, or its class was changed since it was trained.
        ModelError: its class cannot be imported.
    """
    try:
        description = read_json(directory / "config.json")
        config = TrainConfig(**description["train"])
        if source_digest(config.scorer) != description.get("source_sha256"):
            raise ArtifactError(f"the sources of {config.scorer} were changed since {directory} was trained; run `nann train` again")
        num_items = description["num_items"]
        features = {name: _feature(num_items, description["features"][name]) for name in config.inputs}
        scorer = build_model(config, num_items=num_items, num_categories=description["num_categories"], features=features)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{directory} holds no model ({error}); run `nann train` again") from error
    tf.train.Checkpoint(scorer=scorer).read(str(directory / "weights")).assert_consumed()
    if not trainable:
        scorer.item_embedding.freeze()
    return scorer


def _feature(num_items: int, described: dict[str, Any]) -> ModelInput:
    return RequestInput(**described) if "side" in described else FeatureLists.unknown(num_items=num_items, **described)


def load_max_length(directory: Path) -> int:
    """The number of history items the model in a directory reads."""
    return int(read_json(directory / "config.json")["max_length"])
