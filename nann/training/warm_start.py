"""Going on from an earlier model: its weights, and its optimizer's moments where they were kept, in a model of a grown vocabulary.

Incremental conversion gives new items and categories the rows after the earlier ones, so the earlier tables are the first rows of the new
ones. New rows keep the initial values they were drawn with; their moments are 0. Tables that grow are keyed by these rows and are taken
over as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from nann.artifacts import Artifact
from nann.config import TrainConfig
from nann.contents import opening
from nann.errors import ArtifactError
from nann.models import Scorer, load_model, options_of, read_checkpoint
from nann.training.step import trained_variables
from ops.optimizers import LazyAdamW

OPTIMIZER_NAME = "optimizer"
# What must be equal for one model's weights to fit into the other.
ARCHITECTURE = ("scorer", "emb_dim", "encoders", "embedding", "shared_rows", "inputs")
OF_SEQUENCE = ("encoders",)


@dataclass(frozen=True)
class EarlierModel:
    """What a training goes on from.

    Attributes:
        scorer: the trained scorer.
        optimizer: its optimizer, over `trained_variables(scorer)`; None where the moments were not kept.
    """

    scorer: Scorer
    optimizer: LazyAdamW | None

    @property
    def steps(self) -> int:
        """Steps the optimizer has done; 0 without one."""
        return 0 if self.optimizer is None else int(self.optimizer.step.numpy())


def load_earlier_model(directory: Path, *, allow_own: bool = False, named: str = "") -> EarlierModel:
    """The model in a directory, with the optimizer's moments if they were kept there.

    Args:
        directory: of the model artifact.
        allow_own, named: see `nann.models.load_model`.

    Raises:
        ArtifactError: the directory holds no model.
    """
    scorer = load_model(directory, trainable=True, allow_own=allow_own, named=named)
    if not (directory / f"{OPTIMIZER_NAME}.index").is_file():
        return EarlierModel(scorer, None)
    optimizer = LazyAdamW(trained_variables(scorer))
    with opening(directory, "a model with its optimizer", step="train"):
        read_checkpoint(tf.train.Checkpoint(slots=list(optimizer.slots)), directory / OPTIMIZER_NAME)
    return EarlierModel(scorer, optimizer)


def save_optimizer(optimizer: LazyAdamW, directory: Path) -> None:
    """Writes the optimizer's step count and moments as the checkpoint ``optimizer.*``."""
    tf.train.Checkpoint(slots=list(optimizer.slots)).write(str(directory / OPTIMIZER_NAME))


def require_continuation(model: Artifact, dataset: Artifact, config: TrainConfig) -> None:
    """Refuses a dataset whose rows may mean other items than the model's, and a config of another architecture.

    Args:
        model: artifact of `train` to go on from.
        dataset: artifact of `convert` to train on: the model's own, or one converted with ``--base`` of it.
        config: of the new training.

    Raises:
        ArtifactError: they do not go together, or the model's scorer was removed.
    """
    own, base = model.lineage.get("dataset", "none"), dataset.manifest["inputs"].get("base_dataset", "none")
    if own not in (dataset.digest, base):
        raise ArtifactError(
            f"a warm start needs the model's own dataset or one converted with --base of it, but {model.path} was trained on dataset "
            f"{own[:12]} and {dataset.path} is {dataset.digest[:12]}, converted on the base {base[:12]}; "
            "run `nann convert` again with --base the model's dataset, or train without --warm-start"
        )
    made_with = options_of(model.params, model.path)
    for name in ARCHITECTURE:
        earlier, wanted = made_with.get(name), config.model_dump(mode="json")[name]
        if earlier != wanted and (config.scorer == "sequence" or name not in OF_SEQUENCE):
            option = name.replace("_", "-")
            raise ArtifactError(
                f"{model.path} was trained with --{option} {earlier}, so a training that goes on from it cannot have --{option} {wanted}; "
                f"give --{option} {earlier}, or train without --warm-start"
            )


def carry_over(earlier: EarlierModel, scorer: Scorer, optimizer: LazyAdamW | None) -> dict[str, int]:
    """Puts the earlier weights, and moments where there are any, into a new model of at least as many rows.

    Args:
        earlier: to take from; unchanged.
        scorer: the new scorer, of the same architecture.
        optimizer: the new optimizer, over `trained_variables(scorer)`; None: the moments are not taken over.

    Returns:
        ``items_added`` and ``categories_added``: rows that the earlier model did not have, and ``earlier_steps``.

    Raises:
        ValueError: the new model has fewer rows, or other networks.
    """
    scorer.item_embedding.take_over(earlier.scorer.item_embedding)
    _assign_first_rows(_of_fixed_size(earlier.scorer), _of_fixed_size(scorer))
    if earlier.optimizer is not None and optimizer is not None:
        _assign_first_rows(earlier.optimizer.slots, optimizer.slots)
    return {
        "items_added": scorer.num_items - earlier.scorer.num_items,
        "categories_added": scorer.num_categories - earlier.scorer.num_categories,
        "earlier_steps": earlier.steps,
    }


def _of_fixed_size(scorer: Scorer) -> list[tf.Variable]:
    """The learned variables but those of tables that grow with the ids met, which are keyed by rows of the catalogue."""
    grown = {id(variable) for variable in scorer.item_embedding.grown}
    return [variable for variable in scorer.learned_variables if id(variable) not in grown]


def _assign_first_rows(sources: Sequence[tf.Variable], targets: Sequence[tf.Variable]) -> None:
    if len(sources) != len(targets):
        raise ValueError(f"the models must have the same variables, but they have {len(sources)} and {len(targets)}")
    for source, target in zip(sources, targets, strict=True):
        if source.shape == target.shape:
            target.assign(source)
            continue
        rows = source.shape[0] if source.shape.rank else 0
        if source.shape.rank != target.shape.rank or source.shape[1:] != target.shape[1:] or rows > target.shape[0]:
            raise ValueError(f"{target.name} has shape {target.shape}, which does not hold the earlier {source.shape}")
        target.assign(tf.concat([source, target[rows:]], axis=0))
