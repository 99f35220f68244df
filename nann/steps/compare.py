"""Step `compare`: whether one evaluation is better than another on the same users. It writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nann.artifacts import MANIFEST_NAME, open_artifact
from nann.config import CompareConfig
from nann.errors import ArtifactError
from nann.evaluation.best_baseline import BEST_BASELINE, best_names, simple_names
from nann.evaluation.comparison import Paired, UserRanks, compare_paired, list_names, read_ranks, require_same_users, user_values
from nann.steps.table import EVALUATE, SEEDS


@dataclass(frozen=True)
class Comparison:
    """Two evaluations, or groups of evaluations with different seeds, side by side.

    Attributes:
        name_a, name_b: what was compared.
        num_users: S.
        seeds_a, seeds_b: evaluations on each side.
        figures: "METRIC@K" -> the two means and their difference.
        per_seed_a, per_seed_b: "METRIC@K" -> the mean of each evaluation.
    """

    name_a: str
    name_b: str
    num_users: int
    seeds_a: int
    seeds_b: int
    figures: dict[str, Paired]
    per_seed_a: dict[str, list[float]]
    per_seed_b: dict[str, list[float]]


def compare(*, a: Sequence[Path], b: Sequence[Path] | str, config: CompareConfig) -> Comparison:
    """Compares evaluations of the same users.

    Args:
        a: artifacts of `evaluate`, or runs and directories of seeds that hold such; several are of one config with different seeds, whose
            means are compared.
        b: likewise, or the name of a baseline of the first of ``a``; ``best_baseline`` is at each K the one with the highest recall@K.
        config: the options.

    Raises:
        ArtifactError: an artifact is unusable, there is no such baseline, K is more than was retrieved, or users or targets differ.
    """
    a = [found for path in a for found in find_evaluations(path)]
    b = b if isinstance(b, str) else [found for path in b for found in find_evaluations(path)]
    for path in [*a, *([] if isinstance(b, str) else b)]:
        _require_lists(path, config)
    left = read_ranks(a, config.lists, name=", ".join(map(str, a)))
    if b == BEST_BASELINE:
        return _compare_best(a[0], left, config)
    right = read_ranks(a[:1], b, name=b) if isinstance(b, str) else read_ranks(b, config.lists, name=", ".join(map(str, b)))
    return compare_ranks(left, right, config)


def compare_ranks(left: UserRanks, right: UserRanks, config: CompareConfig) -> Comparison:
    """Compares ranks of the same users.

    Raises:
        ArtifactError: users or targets differ.
    """
    require_same_users(left, right)
    figures, per_seed_a, per_seed_b = {}, {}, {}
    for metric in config.metrics:
        for k in sorted(config.ks):
            values_a, values_b = (user_values(side.ranks, metric, k) for side in (left, right))
            figures[f"{metric}@{k}"] = compare_paired(values_a, values_b, resamples=config.resamples)
            per_seed_a[f"{metric}@{k}"], per_seed_b[f"{metric}@{k}"] = values_a.mean(axis=1).tolist(), values_b.mean(axis=1).tolist()
    return Comparison(left.name, right.name, len(left.user_ids), len(left.ranks), len(right.ranks), figures, per_seed_a, per_seed_b)


def _compare_best(path: Path, left: UserRanks, config: CompareConfig) -> Comparison:
    """Compares with the best baseline of an evaluation, which may be another one at each K."""
    ranks = {name: read_ranks([path], name, name=name) for name in simple_names(list_names(path))}
    if not ranks:
        raise ArtifactError(f"{path} holds no baseline to compare with; run `nann evaluate` with --baselines")
    recalls = {name: {f"recall@{k}": float(user_values(each.ranks, "recall", k).mean()) for k in config.ks} for name, each in ranks.items()}
    found: dict[str, Comparison] = {}
    for k, name in best_names(recalls, sorted(config.ks)).items():
        of_k = compare_ranks(left, ranks[name], config.model_copy(update={"ks": (k,)}))
        found |= dict.fromkeys(of_k.figures, of_k)
    in_order = [f"{metric}@{k}" for metric in config.metrics for k in sorted(config.ks)]
    names = ", ".join(f"{found[f'{config.metrics[0]}@{k}'].name_b} @{k}" for k in sorted(config.ks))
    return Comparison(
        left.name,
        f"the best baseline ({names})",
        len(left.user_ids),
        len(left.ranks),
        1,
        {figure: found[figure].figures[figure] for figure in in_order},
        {figure: found[figure].per_seed_a[figure] for figure in in_order},
        {figure: found[figure].per_seed_b[figure] for figure in in_order},
    )


def find_evaluations(path: Path) -> list[Path]:
    """The evaluations of a directory: itself, that of a run, or those of the seeds of `nann seeds`, in order of seed.

    Raises:
        ArtifactError: there is none.
    """
    seeds = [found for parent in (path, path / SEEDS.writes) for found in parent.glob(f"seed-*/{EVALUATE.writes}")]
    if (path / EVALUATE.writes / MANIFEST_NAME).is_file():
        return [path / EVALUATE.writes]
    if seeds:
        return sorted(seeds, key=lambda found: (len(found.parent.name), found.parent.name))
    if path.is_dir() and not (path / MANIFEST_NAME).is_file():
        raise ArtifactError(f"{path} holds no evaluation; run `nann evaluate` there, or give the directory of one, of a run or of seeds")
    return [path]


def _require_lists(path: Path, config: CompareConfig) -> None:
    artifact = open_artifact(path, step="evaluate")
    widest = max(artifact.params["ks"])
    if max(config.ks) > widest:
        raise ArtifactError(f"{path} holds lists of {widest} items, but K = {max(config.ks)} is asked for; give --ks up to {widest}")
