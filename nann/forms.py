"""Schemas of the JSON files of artifacts, runs and services: what is read of them, with its types. Further keys are kept as they are."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from data_prep.opening import Stored

Text = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**62)]
Row = Annotated[int, Field(ge=0, lt=2**31)]
Numbers = dict[str, Any]
Number = Annotated[float, Field(allow_inf_nan=False)]


def _inside(name: str) -> str:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or name in ("", "."):
        raise ValueError("a file of an artifact lies inside it")
    return name


class FileEntry(Stored):
    """A file in a manifest."""

    size_bytes: Count
    sha256: Digest


class Manifest(Stored):
    """``manifest.json``."""

    schema_version: int
    step: Text
    params: Numbers
    code_version: str
    code_digest: str
    inputs: dict[str, str]
    lineage: dict[str, str]
    files: dict[Annotated[str, AfterValidator(_inside)], FileEntry] = Field(min_length=1)
    metrics: Numbers


class ModelDescription(Stored):
    """``config.json`` of a model; ``train`` goes to `TrainConfig`."""

    train: Numbers
    num_items: Row
    num_categories: Row
    max_length: Row
    source_sha256: str | None = None
    features: dict[str, dict[str, int | str | None]] = Field(default_factory=dict)


class StoredPointer(Stored):
    """``current.json`` of a service."""

    version: int = Field(ge=1, lt=2**53)
    before: list[Annotated[int, Field(ge=1, lt=2**53)]]
    last: int = Field(ge=1, lt=2**53)


class StoredTables(Stored):
    """``item_tables.json`` of a service."""

    version: int = Field(ge=1, lt=2**53)


class Version(Stored):
    """``version.json`` of a version, of a refused candidate, and of what `in-service` took."""

    version: Annotated[int, Field(ge=1, lt=2**53)] | None = None
    number: int | None = None
    time: Count | None = None
    artifacts: dict[str, str]


class Verdict(Stored):
    """``gate.json``."""

    passed: bool
    version_in_service: int | None


class CheckVerdict(Stored):
    """``verdict.json`` of a window."""

    passed: bool
    refusals: list[Text]


class Rule(Stored):
    """A rule in ``gate.json``."""

    name: Text
    passed: bool


class RefusedVerdict(Verdict):
    """``gate.json`` of a candidate that was refused."""

    checks: list[Rule]


class TimeRange(Stored):
    """Of ``meta.json``, as far as a service is asked about it: first and last event in unix seconds; none without times."""

    time_range: Annotated[list[Annotated[int, Field(gt=-(2**37), lt=2**37)]], Field(max_length=2)]


class ServedInput(Stored):
    """An input in ``inputs.json`` of a converted model."""

    side: Literal["history", "user"]
    signature_key: str
    values: list[str] | None


class MemoryNumbers(Stored):
    """``memory.json`` of a model."""

    options: dict[str, Number]
    calibration: dict[str, Number | list[Number]]
    max_length: Row


class TrainingRecord(Stored):
    """A record of ``training.json``."""

    step: Count


class Metrics(Stored):
    """``metrics.json`` of an evaluation."""

    baselines: dict[str, Numbers] = Field(default_factory=dict)
    num_test_users: Count = 0
    warnings: list[str] = Field(default_factory=list)


class Latency(Stored):
    """``latency.json`` of a benchmark."""

    graph: str
    graphs: dict[str, Numbers] = Field(default_factory=dict)


class SweepResult(Stored):
    """``sweep.json``."""

    trials: list[Numbers] = Field(min_length=1)
    rungs: list[float]
    chosen: Count


class ShardNumber(Stored):
    """What a part of a conversion says about itself."""

    shard: Row


class RunInputs(Stored):
    """``inputs.json`` of a run directory."""

    inputs: list[Text]
