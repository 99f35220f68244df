"""The options of `nann train`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, Field, field_validator

from nann.families import FAMILIES, REMOVED
from nann.option_types import OpensModels

Config = TypeVar("Config", bound=BaseModel)
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_class_reference(text: str) -> bool:
    """Whether a text has the form ``my_package.module:MyModel``."""
    return _CLASS.fullmatch(text) is not None


class TrainConfig(OpensModels):
    """Options of `nann train`."""

    scorer: str = Field(
        "sequence",
        description=", ".join(f"{name} ({family.summary})" for name, family in FAMILIES.items())
        + ", or a class of your own as my_package.module:MyModel",
    )
    emb_dim: int = Field(64, ge=1, description="size of the item embedding and of the category embedding")
    encoders: int = Field(
        2, ge=1, le=16, description="sequence: encoders that learn side by side, each with embeddings of this size; their mean is the score"
    )
    embedding: Literal["static", "ev", "adaptive"] = Field(
        "static",
        description="static (a row per item and category), ev (rows for those met often enough, zeros for the others), or adaptive (these, "
        "and shared rows for the others)",
    )
    promote_after: int = Field(5, ge=1, description="ev, adaptive: training targets after which an item or category has a row of its own")
    shared_rows: int = Field(1024, ge=1, description="adaptive: rows shared by items, and as many by categories, without one of their own")
    evict_after: int = Field(
        0, ge=0, description="ev, adaptive: steps without being a target after which an own row is taken back when training ends; 0: never"
    )
    inputs: tuple[str, ...] = Field(
        (),
        description="inputs of the dataset to read beside items and categories, by name: behavior and time of the history's events, "
        "features of items and of users; default: none",
    )

    max_length: int = Field(50, ge=0, description="newest history items the model reads; 0: as many as converted")
    num_neg: int = Field(128, ge=1, description="sampled negatives: per sample, or per batch when shared")
    negatives: Literal["per-sample", "shared"] = Field(
        "shared", description="draw negatives for each sample, or once per batch, which then also scores the batch's other targets"
    )
    loss: Literal["nce", "sampled-softmax", "bpr"] = Field(
        "sampled-softmax", description="noise-contrastive sigmoid loss, softmax over the candidates, or pairwise ranking (BPR)"
    )
    adv_eps: float = Field(0.0, ge=0, description="size of the adversarial perturbation of the item vector; 0: none")
    batch_size: int = Field(
        128, ge=1, description="samples per replica and step; sequence: rows of 64 events and more, one for every 8 of it"
    )
    epochs: float = Field(4, ge=0, description="passes over the training samples; 0: none, to carry a model over with --warm-start")
    max_steps: int = Field(
        6_000, ge=0, description="stop after this many steps, with the default scorer some 10 minutes on two busy cores; 0: no limit"
    )
    max_minutes: float = Field(
        0, ge=0, description="end after this time: as many steps as fit in, counted once their speed is known and recorded; 0: no limit"
    )
    learning_rate: float = Field(3e-3, gt=0, description="peak learning rate of AdamW")
    teacher: Path | None = Field(None, description="directory of a trained model of the same dataset, whose scores this one learns too")
    teacher_weight: float = Field(0.5, ge=0, le=1, description="with a teacher: its part of the loss; the rest is that of the targets")
    schedule: Literal["constant", "cosine"] = Field("cosine", description="learning rate after warm-up: constant, or a cosine to 0")
    warmup_steps: int = Field(100, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW decoupled weight decay")
    dropout: float = Field(0.1, ge=0, lt=1, description="sequence: share of what a block reads and adds that is left out in training")
    id_dropout: float = Field(
        0.1, ge=0, lt=1, description="sequence: share of a history's items that training knows by their category alone"
    )
    candidate_id_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="sequence: share of the candidates, targets among them, that training knows by their category and features alone, as "
        "items that `nann add-items` adds",
    )
    mixed_precision: bool = Field(False, description="compute the networks in bfloat16 (GPU and recent CPUs)")
    xla: bool = Field(True, description="compile the networks' part of the step with XLA")
    fused: bool = Field(True, description="look up and update embedding rows with the fused native ops; otherwise with stock ops")
    log_steps: int = Field(100, ge=1, description="steps between records of the loss")
    validate_users: int = Field(2000, ge=0, description="validation users whose recall is measured during training; 0: none")
    validations: int = Field(4, ge=0, description="how often recall is measured, the last time at the end")
    keep: Literal["best", "last"] = Field(
        "best", description="weights to end with: those with the best recall of validation users during training, or the last ones"
    )
    patience: int = Field(0, ge=0, description="end the training after so many measurements of that recall without a better one; 0: do not")
    memory: Literal["pairs", "none"] = Field(
        "pairs", description="what remembers beside the scorer: pairs (items that followed each other in histories), or none"
    )
    memory_successors: int = Field(128, ge=1, description="memory: items remembered per item, those that followed most")
    memory_users: float = Field(
        0.1, ge=0, lt=1, description="memory: share of the training users held out of training, at most 3,000, to fit its weights to"
    )
    checkpoint_seconds: float = Field(60, gt=0, description="seconds between checkpoints")
    item_init: float = Field(1, ge=0, description="spread of the initial item embeddings relative to the usual; 0: equal for all items")
    keep_moments: bool = Field(False, description="keep the optimizer's moments in the model, for a later --warm-start")
    seed: int = Field(1, description="seed of initial values, order and negatives")

    @field_validator("scorer")
    @classmethod
    def _known_scorer(cls, value: str) -> str:
        if value in REMOVED:
            raise ValueError(
                f"this version does not have the scorer {value!r}; take one of {', '.join(FAMILIES)}, or train it with an earlier version"
            )
        if value not in FAMILIES and not is_class_reference(value):
            raise ValueError(f"{value!r} is none of {', '.join(FAMILIES)}, nor a class as my_package.module:MyModel")
        return value

    @field_validator("inputs")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"{','.join(value)} names an input twice; give every input once")
        return value


def trust_named_class(configs: Mapping[str, Config]) -> dict[str, Config]:
    """Configs of one command line, by step: where its training names a class of one's own, the other steps may open models of it."""
    if not any(isinstance(config, TrainConfig) and is_class_reference(config.scorer) for config in configs.values()):
        return dict(configs)
    trusting = {name: isinstance(config, OpensModels) for name, config in configs.items()}
    return {name: config.model_copy(update={"allow_own_models": True}) if trusting[name] else config for name, config in configs.items()}
