"""Scorers: build one from a training config, load a trained one from a model artifact."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import tensorflow as tf

from data_prep.json_text import write_json
from nann.config import TrainConfig
from nann.contents import opening, read_json, without_wildcards
from nann.dataset.inputs import FeatureLists, Features, ModelInput, RequestInput
from nann.errors import ArtifactError, ModelError
from nann.families import FAMILIES, REMOVED
from nann.forms import ModelDescription
from nann.models.classes import load_class, require_features, require_interface, source_digest
from nann.models.item_vectors import ItemEncoder
from nann.models.pruning import first_layer_sums, prune_score_network
from nann.models.scorer import Scorer, UserState
from nann.models.tables import TableOptions
from nann.option_types import stored_params

__all__ = [
    "ItemEncoder",
    "Scorer",
    "UserState",
    "build_model",
    "config_of",
    "describe_model",
    "first_layer_sums",
    "load_class",
    "load_model",
    "options_of",
    "prune_score_network",
    "read_checkpoint",
    "save_model",
    "source_digest",
]

_OPTIONS_OF_REMOVED = ("graph_items", "graph_users", "graph_user_items")


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
        "train": stored_params(config, "teacher"),
        "num_items": scorer.num_items,
        "num_categories": scorer.num_categories,
        "item_dim": scorer.item_dim,
        "max_length": max_length,
        "source_sha256": source_digest(config.scorer),
        "features": scorer.item_embedding.describe(),
    }
    tf.train.Checkpoint(scorer=scorer).write(str(directory / "weights"))
    write_json(directory / "config.json", description)


def load_model(directory: Path, *, trainable: bool = False, allow_own: bool = False, named: str = "") -> Scorer:
    """The scorer that `save_model` wrote, with its weights.

    Args:
        directory: of the model artifact.
        trainable: tables that grow still do; otherwise they are made plain variables, which any graph can hold.
        allow_own: import whatever class the model names: whoever can write the directory then runs code here.
        named: a class of one's own that the user named and that may be imported for this.

    Raises:
        ArtifactError: the directory holds no such model, its class was changed since it was trained, or its scorer was removed.
        ModelError: its class is one's own and neither allowed nor named, or cannot be imported.
    """
    description, config = describe_model(directory), config_of(directory)
    if config.scorer not in FAMILIES and not allow_own and config.scorer != named:
        raise ModelError(
            f"{directory} names the class {config.scorer}, and importing it runs its code; give --allow-own-models if you trust who "
            "wrote both"
        )
    with opening(directory, "a trained model", step="train") if config.scorer in FAMILIES else nullcontext():
        if source_digest(config.scorer) != description.get("source_sha256"):
            raise ArtifactError(f"the sources of {config.scorer} were changed since {directory} was trained; run `nann train` again")
        num_items = description["num_items"]
        features = {name: _feature(num_items, description["features"][name]) for name in config.inputs}
        scorer = build_model(config, num_items=num_items, num_categories=description["num_categories"], features=features)
        read_checkpoint(tf.train.Checkpoint(scorer=scorer), directory / "weights")
    if not trainable:
        scorer.item_embedding.freeze()
    return scorer


def config_of(directory: Path) -> TrainConfig:
    """The options that the model in a directory was trained with.

    Raises:
        ArtifactError: its description is damaged, or its scorer is one that this version no longer has.
    """
    description = describe_model(directory)
    options = options_of(description["train"], directory)
    with opening(directory / "config.json", "the description of a model", step="train"):
        return TrainConfig(**options)


def options_of(params: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The options that a model was trained with, in terms of this version.

    One made before there were several encoders does not say how many it has, and one made when there was a scorer ``graph`` has options
    of it, whatever its own scorer.

    Args:
        params: as they were stored.
        directory: of the model.

    Raises:
        ArtifactError: its scorer is one that this version no longer has.
    """
    if params.get("scorer") in REMOVED:
        raise ArtifactError(
            f"{directory} is a model of the scorer {params['scorer']}, which this version does not have; use it with the code that made it "
            f"(code_version and code_digest in its manifest.json), or run `nann train` again with another --scorer: {', '.join(FAMILIES)}"
        )
    return {"encoders": 1, **{name: value for name, value in params.items() if name not in _OPTIONS_OF_REMOVED}}


def _feature(num_items: int, described: dict[str, Any]) -> ModelInput:
    return RequestInput(**described) if "side" in described else FeatureLists.unknown(num_items=num_items, **described)


def load_max_length(directory: Path) -> int:
    """The number of history items the model in a directory reads."""
    return int(describe_model(directory)["max_length"])


def describe_model(directory: Path) -> dict[str, Any]:
    """The content of a model's ``config.json``; nothing it names is imported.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    description: dict[str, Any] = read_json(directory / "config.json", ModelDescription, "the description of a model", step="train")
    return description


def read_checkpoint(tracked: tf.train.Checkpoint, prefix: Path) -> None:
    """Reads a whole checkpoint into what it was written of, whatever its path holds."""
    with without_wildcards(prefix) as plain:
        tracked.read(str(plain)).assert_consumed()
