"""The step `convert` in three pieces for several machines: plan, one task per shard, merge.

`plan_conversion` reads and partitions the log, `convert_shard` writes one training shard with the held-out samples of its users (any
number of them at a time, on any machine that sees the plan), `merge_conversion` puts the dataset together. Its bytes, `manifest.json`
included, are those of `nann.steps.convert.convert`, whose code does the work.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from data_prep.config import RESOURCE_FIELDS, ConvertConfig
from data_prep.convert import merge_shards
from data_prep.durable import write_file
from data_prep.json_text import read_json
from data_prep.plan import load_plan
from data_prep.planning import make_plan
from data_prep.presets import resolve_format
from data_prep.shards import ShardWriter
from data_prep.sources import expand_directories
from nann.artifacts import StepResult
from nann.errors import ArtifactError
from nann.steps.convert import input_digests, open_writer

DIGESTS_NAME = "digests.json"
CONFIG_NAME = "config.json"
SHARD_NAME = "shard.json"
logger = logging.getLogger(__name__)


def plan_conversion(*, inputs: Sequence[Path], plan: Path, config: ConvertConfig) -> int:
    """Reads, counts and partitions a log.

    Args:
        inputs: log files and directories, as for `convert`.
        plan: directory to write; what a killed task of the same log left there is used.
        config: options of the conversion.

    Returns:
        Number of shards; there is a task for each.

    Raises:
        data_prep.DataError: an input is missing, damaged, or breaks a rule beyond the limits.
    """
    inputs = expand_directories([Path(path) for path in inputs])
    config = resolve_format(config, inputs)
    digests = input_digests(inputs, config)()
    made = make_plan(inputs, plan, config)
    write_file(plan / CONFIG_NAME, config.model_dump_json(exclude_unset=True))
    write_file(plan / DIGESTS_NAME, json.dumps(digests))
    return made.num_shards


def _planned(plan: Path, config: ConvertConfig) -> ConvertConfig:
    """The options with those that a well-known log brought, as they were planned with; what changes no byte may differ."""
    planned = ConvertConfig.model_validate_json((plan / CONFIG_NAME).read_text(encoding="utf-8"))
    return planned.model_copy(update={name: getattr(config, name) for name in RESOURCE_FIELDS})


def convert_shard(*, plan: Path, part: Path, shard: int, config: ConvertConfig) -> None:
    """Writes one shard.

    Args:
        plan: directory made by `plan_conversion`; only read.
        part: directory to write; a killed task goes on where it was.
        shard: its number, from 0.
        config: options of the conversion.
    """
    part.mkdir(parents=True, exist_ok=True)
    config = _planned(plan, config)
    ShardWriter(load_plan(plan), plan, shard, config, part).write()
    write_file(part / SHARD_NAME, json.dumps({"shard": shard}))


def merge_conversion(*, plan: Path, parts: Sequence[Path], dataset: Path, config: ConvertConfig, overwrite: bool = False) -> StepResult:
    """Puts the dataset artifact together.

    Args:
        plan: directory made by `plan_conversion`.
        parts: directories made by `convert_shard`, in any order.
        dataset: directory to write.
        config: options of the conversion.
        overwrite: replace a differing dataset.

    Raises:
        ArtifactError: a shard is missing or given twice, or ``dataset`` holds something else.
    """
    loaded, config = load_plan(plan), _planned(plan, config)
    found = {int(read_json(part / SHARD_NAME)["shard"]): part for part in parts}
    if sorted(found) != list(range(loaded.num_shards)) or len(parts) != len(found):
        raise ArtifactError(
            f"the plan has {loaded.num_shards} shards, but the parts are of {sorted(found)} ({len(parts)} given); convert all"
        )
    writer = open_writer(dataset, config, read_json(plan / DIGESTS_NAME), overwrite=overwrite)
    if writer.is_current:
        return writer.current()
    with writer as directory:
        part_dirs = [found[shard] for shard in range(loaded.num_shards)]
        report = merge_shards(loaded, plan, directory, config, part_dirs, writer.digests)
        writer.metrics.update(report.metrics)
    return writer.result()
