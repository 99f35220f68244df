"""What the components of a spread-out conversion do around the functions of `nann.steps.convert_parts`: paths, logs, metrics."""

from __future__ import annotations

import hashlib
import logging
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from components.adapters import log_metrics, manifest_digest
from components.configs import make_config
from components.errors import operator_message
from components.output import set_up_logging
from nann.steps.table import CONVERT

PlanOutputs = namedtuple("PlanOutputs", ["shards", "digest"])
Outcome = TypeVar("Outcome")
logger = logging.getLogger(__name__)


def run_plan(*, inputs: Sequence[str], plan: str, config: Mapping[str, Any]) -> PlanOutputs:
    """Plans a conversion; returns the shard numbers and the sha256 (hex) of the plan's head."""
    from nann.steps.convert_parts import DIGESTS_NAME, plan_conversion

    directory = Path(plan)
    shards = _told(lambda: plan_conversion(inputs=[Path(path) for path in inputs], plan=directory, config=_config(config)))
    digest = hashlib.sha256((directory / "plan.json").read_bytes() + (directory / DIGESTS_NAME).read_bytes()).hexdigest()
    return PlanOutputs(list(range(shards)), digest)


def run_shard(*, plan: str, part: str, shard: int, config: Mapping[str, Any]) -> None:
    """Writes one shard."""
    from nann.steps.convert_parts import convert_shard

    _told(lambda: convert_shard(plan=Path(plan), part=Path(part), shard=int(shard), config=_config(config)))


def run_merge(*, plan: str, parts: Sequence[str], dataset: str, config: Mapping[str, Any], metrics: Any) -> str:
    """Merges the shards, logs the numbers, and returns the sha256 (hex) of the dataset's manifest."""
    from nann.steps.convert_parts import merge_conversion

    result = _told(
        lambda: merge_conversion(
            plan=Path(plan), parts=[Path(part) for part in parts], dataset=Path(dataset), config=_config(config), overwrite=True
        )
    )
    log_metrics(metrics, result.metrics)
    return manifest_digest(result.path)


def _config(values: Mapping[str, Any]) -> Any:
    return make_config(CONVERT.name, values)


def _told(work: Callable[[], Outcome]) -> Outcome:
    """Runs a task; an error an operator can act on becomes one line and exit 1."""
    set_up_logging(verbose=False, quiet=False)
    try:
        return work()
    except Exception as error:
        message = operator_message(error)
        if message is None:
            raise
        logger.error("error: %s", message)
        raise SystemExit(1) from None
