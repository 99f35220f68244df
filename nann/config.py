"""Configuration of the steps: frozen pydantic models, one per step, from which the command line, the config file and the DAG take
names, types, defaults and help texts.

Those of `train` are in `nann.train_config`, of the gates and of services in `nann.retraining_config`, those of `convert` and `generate` in
`data_prep.config`. A config file is YAML with one section per step (``train:``, ``build-index:`` ...); flags override the file, the file
overrides the defaults.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from nann.families import FAMILIES as FAMILIES
from nann.option_types import GRAPH_FORMS, Count, Hours, NotNegative, OpensModels, Share
from nann.option_types import GraphForm as GraphForm
from nann.option_types import StepConfig as StepConfig
from nann.retraining_config import CheckDataConfig as CheckDataConfig
from nann.retraining_config import GateConfig as GateConfig
from nann.retraining_config import InServiceConfig as InServiceConfig
from nann.retraining_config import ItemPriorConfig as ItemPriorConfig
from nann.retraining_config import PublishConfig as PublishConfig
from nann.train_config import TrainConfig as TrainConfig
from nann.train_config import is_class_reference as is_class_reference
from ops.precisions import Precision


class ExtractConfig(OpensModels):
    """Options of `nann extract`."""

    batch_size: int = Field(8192, ge=1, description="items per forward pass")


class BuildIndexConfig(StepConfig):
    """Options of `nann build-index`."""

    m: int = Field(32, ge=2, description="HNSW degree M")
    ef_construction: int = Field(200, ge=1, description="HNSW candidate list size while building")
    threads: int = Field(
        0, ge=0, description="build threads; only 1 gives byte-identical indexes; 0: 1 for up to 100,000 items, every core for more"
    )
    seed: int = Field(1, description="seed of the level assignment")
    start_level: int = Field(2, ge=0, description="entry points are all nodes of this level and above")


class RewriteConfig(OpensModels):
    """Options of `nann rewrite`: the search baked into the exported retrieval graph."""

    ef: tuple[Count, ...] = Field((500, 400, 200), description="running top-ef per level, from level 0 up")
    rounds: tuple[NotNegative, ...] = Field((8, 2, 1), description="rounds of expansion per level, from level 0 up")
    top_k: int = Field(200, ge=1, description="items returned per user")
    precision: Precision = Field(
        "float32", description="of the scorer's weights, and of the tables; less than float32 is exported with its measured cost in recall"
    )
    table_precision: Literal["as-precision", "float32", "bfloat16", "float16", "int8"] = Field(
        "as-precision", description="of the tables (embeddings and item vectors), if another one than that of the weights"
    )
    prune: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the score network's hidden units to leave out, those of the least weight; the rest is fitted anew",
    )
    precompute_mb: int = Field(
        0, ge=0, description="compute what depends on items alone at export, if the wider item table fits into this much memory; 0: do not"
    )
    start_level: int = Field(-1, ge=-1, description="the walk starts from all nodes of this level and above; -1: the index's own")
    memory_entries: int = Field(
        500, ge=0, description="best items of the user's memory of pairs that the walk starts from, too, if the model has a memory"
    )
    xla: bool = Field(False, description="compile the scoring in the SavedModels with XLA, once per width of a grid, when it is first met")

    @property
    def precision_of_tables(self) -> Precision:
        """Of the embedding tables and the item vectors."""
        return self.precision if self.table_precision == "as-precision" else self.table_precision

    @field_validator("ef")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1:
            raise ValueError("needs at least one level, every entry at least 1")
        return value

    @field_validator("rounds")
    @classmethod
    def _not_negative(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 0:
            raise ValueError("needs at least one level, every entry at least 0")
        return value


class EvaluateConfig(OpensModels):
    """Options of `nann evaluate`."""

    ks: tuple[Count, ...] = Field((50, 100, 200), description="list lengths K of the metrics")
    split: Literal["test", "validate"] = Field("test", description="users to evaluate on")
    graph: GraphForm = Field("portable", description=f"exported form to evaluate: {GRAPH_FORMS}")
    max_users: int = Field(0, ge=0, description="evaluate at most this many users; 0: all")
    batch_size: int = Field(16, ge=1, description="users per call of the exported graph")
    baselines: bool = Field(True, description="also compute the simple methods that a model has to beat, on the same users")
    decays: tuple[Share, ...] = Field((0.5, 0.6, 0.7, 0.8, 0.9, 1.0), min_length=1, description="recency decays of item CF to choose from")
    recent_hours: tuple[Hours, ...] = Field(
        (0.5, 1, 3, 6, 24, 72), min_length=1, description="windows, in hours, of the popularity of the last hours to choose from"
    )
    tune_users: int = Field(1000, ge=0, description="validation users on whom the baselines' parameters are chosen; 0: take the first ones")
    exclude_history: bool = Field(False, description="also measure the search that leaves items of the history out")
    curve_users: int = Field(200, ge=0, description="validation users for the curve of recall against items scored; 0: no curve")


class CompareConfig(StepConfig):
    """Options of `nann compare`."""

    ks: tuple[Count, ...] = Field((50, 200), min_length=1, description="list lengths K")
    metrics: tuple[Literal["recall", "ndcg", "mrr"], ...] = Field(("recall", "ndcg"), min_length=1, description="recall, ndcg or mrr")
    lists: Literal["retrieval", "all"] = Field("retrieval", description="lists of the exported graph, or of the exact scan")
    resamples: int = Field(2000, ge=100, description="draws of users (and seeds) behind intervals and p-values")


class SweepConfig(StepConfig):
    """Options of `nann sweep`."""

    method: Literal["grid", "random"] = Field("grid", description="try every combination of listed values, or draw some at random")
    trials: int = Field(12, ge=2, description="with random: combinations to draw")
    rungs: tuple[float, ...] = Field(
        (0.25, 1.0), min_length=1, description="shares of the training steps, ascending: all trials get the first"
    )
    keep: float = Field(0.34, gt=0, lt=1, description="share of the trials that go on from each rung to the next")
    metric: Literal["recall_all@200", "recall_all@50"] = Field("recall_all@200", description="what to choose by")
    users: int = Field(2000, ge=1, description="validation users")
    seed: int = Field(1, ge=0, description="seed of the random draw")

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value) <= 0 or max(value) > 1 or list(value) != sorted(set(value)):
            raise ValueError("must be ascending shares above 0, at most 1")
        return value


class SeedsConfig(StepConfig):
    """Options of `nann seeds`."""

    seeds: tuple[int, ...] = Field((1, 2, 3), min_length=2, description="seeds of training, at least two")
    ks: tuple[Count, ...] = Field((50, 200), min_length=1, description="list lengths K to compare at, among those of evaluate")
    resamples: int = Field(2000, ge=100, description="draws of users and seeds behind intervals and p-values")

    @field_validator("seeds")
    @classmethod
    def _different(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError("must differ from each other")
        return value


class TuneConfig(OpensModels):
    """Options of `nann tune`."""

    k: int = Field(200, ge=1, description="list length K of coverage and recall")
    target_coverage: float = Field(0.99, ge=0, le=1, description="least share of the exact top K to find")
    target_recall_delta: float = Field(0.006, description="most of the exact scan's recall@K that may be lost, as a share of it")
    latency_budget_ms: float = Field(0, ge=0, description="most of the median latency of one user; 0: no limit")
    widths: tuple[Count, ...] = Field((200, 300, 400, 600), description="values of ef to try, the same on all levels")
    rounds: tuple[NotNegative, ...] = Field((3, 5, 8), description="rounds on level 0 to try")
    upper_rounds: tuple[NotNegative, ...] = Field((1, 2), description="rounds on level 1 to try; higher levels have one")
    start_levels: tuple[Annotated[int, Field(ge=-1)], ...] = Field((-1,), description="start levels to try; -1: the index's own")
    graphs: tuple[str, ...] = Field(
        (), description="further graphs to build and try, as M:EF_CONSTRUCTION with M at least 2, such as 16:200,48:400"
    )
    threads: int = Field(0, ge=0, description="threads that build further graphs; 0: as build-index")
    users: int = Field(500, ge=1, description="validation users")
    latency_users: int = Field(30, ge=1, description="calls with one user each, whose median is the latency")
    batch_size: int = Field(16, ge=1, description="users per call when quality is measured")

    @field_validator("graphs")
    @classmethod
    def _graph_settings(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not re.fullmatch(r"\s*([2-9]|[1-9]\d+)\s*:\s*[1-9]\d*\s*", text):
                raise ValueError(f"{text!r} is no graph; give M:EF_CONSTRUCTION with M at least 2, such as 32:200")
        return value

    @field_validator("widths", "rounds", "upper_rounds")
    @classmethod
    def _not_empty(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 0:
            raise ValueError("needs at least one number, none below 0")
        return value


class BenchmarkConfig(OpensModels):
    """Options of `nann benchmark`."""

    graphs: tuple[GraphForm, ...] = Field(("portable",), min_length=1, description=f"exported forms to load, in turn: {GRAPH_FORMS}")
    others: dict[str, str] = Field({}, description="further converted models to load beside it, by name: NAME=DIRECTORY,...")
    blocks: int = Field(1, ge=1, description="the forms take turns this often, each time for its share of the duration")
    threads: int = Field(1, ge=1, description="clients")
    requests_per_s: float = Field(0, ge=0, description="fixed rate of requests; 0: each client sends the next when the last is answered")
    batch_size: int = Field(1, ge=1, description="users per request")
    warmup_seconds: float = Field(2, ge=0, description="load before measuring starts")
    duration_seconds: float = Field(10, gt=0, description="measured time")
    url: str = Field("", description="a server to ask, too, such as nann serve with the same model: http://HOST:PORT")
    traced_requests: int = Field(10, ge=0, description="further requests per form whose ops are timed, to split walk and scoring; 0: none")
    seed: int = Field(1, description="seed of the order of the histories")

    @field_validator("others", mode="before")
    @classmethod
    def _directories(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        pairs = [part.partition("=") for part in str(value).split(",") if part.strip()]
        for name, equals, directory in pairs:
            if not (name.strip() and equals and directory.strip()):
                raise ValueError(f"{value!r} is no list of NAME=DIRECTORY; give --others NAME=DIRECTORY,NAME=DIRECTORY")
        return {name.strip(): directory.strip() for name, _, directory in pairs}


class ReportConfig(StepConfig):
    """Options of `nann report`."""

    names: Path | None = Field(None, description="CSV file of id,title lines; titles stand beside ids in the lists of users")
    examples: int = Field(10, ge=0, description="test users whose lists are shown")


class ReplayConfig(StepConfig):
    """Options of `nann replay`."""

    methods: tuple[Literal["scratch", "warm-static", "warm-ev", "warm-adaptive"], ...] = Field(
        ("scratch", "warm-static", "warm-ev", "warm-adaptive"),
        min_length=1,
        description="how each window's model is made: from scratch on all data so far, or going on, with --embedding of that name",
    )
    promote_after: int = Field(2, ge=1, description="warm-ev, warm-adaptive: as for train")
    shared_rows: int = Field(4096, ge=1, description="warm-adaptive: as for train")
    evict_windows: float = Field(7, ge=0, description="warm-ev, warm-adaptive: own rows not met for this many windows go; 0: none does")
    window_hours: float = Field(24, gt=0, description="length of a window; one ends, training happens, the next one asks")
    since: str | None = Field(None, description="end of the first window: unix seconds, or ISO 8601 (UTC unless it says otherwise)")
    until: str | None = Field(None, description="no window is trained for after this time; as --since")
    ks: tuple[Count, ...] = Field((50, 200), description="list lengths K of recall")
    max_users: int = Field(4000, ge=1, description="users asked per window")
    min_events: int = Field(3, ge=1, description="earlier events that a user who is asked needs")
    scratch_every: int = Field(1, ge=1, description="train from scratch for every n-th window only")
    scratch_epochs: tuple[Count, ...] = Field((1, 2, 4), min_length=1, description="passes to choose from when training from scratch")
    choose_windows: int = Field(3, ge=1, description="windows trained from scratch on which these are all tried, to choose for the others")
    warm_epochs: float = Field(3, gt=0, description="passes over the window's samples when going on from the last model")
    gap_minutes: float = Field(60, ge=0, description="train on events at least this long after the user's previous one")
    held_out_share: float = Field(0.05, ge=0, lt=1, description="users who never train; what earlier windows asked them shows forgetting")
    held_out_questions: int = Field(500, ge=1, description="of these users asked per window")
    scorer: Literal["nann", "two-sided"] = Field("two-sided", description="model family, as for train")
    emb_dim: int = Field(32, ge=1, description="as for train")
    max_length: int = Field(20, ge=1, description="as for train")
    batch_size: int = Field(512, ge=1, description="as for train")
    num_neg: int = Field(256, ge=1, description="as for train, shared by the batch")
    learning_rate: float = Field(3e-3, gt=0, description="as for train")
    xla_from_steps: int = Field(
        500, ge=0, description="trainings of at least this many steps compile the networks with XLA: shorter ones do not repay it"
    )
    seed: int = Field(1, description="seed of everything drawn")


class InferConfig(OpensModels):
    """Options of `nann infer`."""

    graph: GraphForm = Field("portable", description=f"exported form to ask: {GRAPH_FORMS}")
    top_k: int = Field(10, ge=1, description="items to print")
    unknown: Literal["fail", "drop"] = Field(
        "fail", description="what becomes of a history with ids that are not in the catalogue: refused, or those ids are left out"
    )
