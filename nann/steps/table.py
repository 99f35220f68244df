"""The table of steps: everything that is said about a step anywhere else is read from here.

The name of a step is its command, its component, its task in a DAG and (with an underscore) its module and its function in `nann.steps`.
The name of an artifact is its directory under a run directory, the keyword of the step functions, and (with a dash) the option that names
its path. How to add a step: `docs/architecture.md`.
"""

from __future__ import annotations

from nann.steps.step import Option as Option
from nann.steps.step import Step as Step
from nann.steps.step import load_object as load_object

LOGS = Option(
    "inputs",
    "--input",
    "LOG",
    "CSV or JSON lines (plain, gzip, zstd, bz2, xz, zip), Parquet, a directory of such, or - for standard input; repeatable.",
    many=True,
    required=True,
)
SERVICE = Option(
    "service", "--service", "DIR", "Directory of the versions in service, or the URL of an object store.", kind="text", required=True
)
WARM_START = Option(
    "warm_start",
    "--warm-start",
    "DIR",
    "Go on from this model: its own dataset, or one that `nann convert --base` made of it. Tables grow by the new rows.",
)
SPACE = Option(
    "space",
    "--space",
    "FILE",
    "YAML file with lines `train.OPTION: [value, ...]` or `train.OPTION: {low: .., high: .., log: true}`.",
    kind="mapping",
    required=True,
)
EARLIER = Option(
    "earlier",
    "--earlier",
    "PATH",
    "What a check of an earlier window wrote, or its series.json: what this window is compared with; repeatable.",
    many=True,
)

CONVERT = Step(
    "convert",
    "Turn interaction logs into training, validation and test records.",
    config="data_prep.config:ConvertConfig",
    writes="dataset",
    options=(LOGS,),
    resumable=True,
    dry_run="Read the first 100,000 rows, say what was decided and how to fix it, and write nothing.",
    continues=(("base", "dataset"),),
    cached=False,  # the paths of the logs say nothing about their contents; `nann pipeline submit --input-digest` allows the cache
    figures=("num_users", "num_items", "num_events"),
)
CHECK_DATA = Step(
    "check-data",
    "Say whether a window of a log is like the windows before it, before hours of training.",
    config="nann.config:CheckDataConfig",
    reads=("dataset",),
    writes="data_check",
    options=(EARLIER,),
    continues=(("earlier", "data_check"),),
    cached=False,  # seconds; and a version may come into service again with another series of windows
    figures=("passed", "refused", "windows_before"),
)
TRAIN = Step(
    "train",
    "Train the scorer on a dataset.",
    config="nann.config:TrainConfig",
    reads=("dataset",),
    writes="model",
    options=(WARM_START,),
    resumable=True,
    class_option="scorer",
    continues=(("warm_start", "model"),),
    workers=True,
    after=("check-data",),  # which fails where a window is not to be trained on
    figures=("loss", "recall_all@200", "steps", "samples"),
)
EXTRACT = Step(
    "extract",
    "Compute the vectors of all items.",
    config="nann.config:ExtractConfig",
    reads=("model", "dataset"),
    writes="embeddings",
    figures=("num_items", "item_dim"),
)
BUILD_INDEX = Step(
    "build-index",
    "Build the HNSW graph over the item vectors.",
    config="nann.config:BuildIndexConfig",
    reads=("embeddings",),
    writes="index",
    figures=("level_0_degree_mean", "num_enter_points", "reachable_share"),
)
REWRITE = Step(
    "rewrite",
    "Freeze the scorer and export the retrieval graph.",
    config="nann.config:RewriteConfig",
    reads=("model", "dataset", "embeddings", "index"),
    writes="converted_model",
    figures=("rounds", "num_enter_points", "saved_model_bytes"),
)
EVALUATE = Step(
    "evaluate",
    "Measure recall of the exported graph against the exact scan and the baselines.",
    config="nann.config:EvaluateConfig",
    reads=("converted_model", "dataset"),
    writes="evaluation",
    figures=(
        *("recall_all@200", "recall_retrieval@200", "best_baseline.recall@200", "ratio_to_best_baseline@200"),
        *("coverage@200", "items_scored_share"),
    ),
)
BENCHMARK = Step(
    "benchmark",
    "Measure latency and throughput of the exported graph.",
    config="nann.config:BenchmarkConfig",
    reads=("converted_model", "dataset"),
    writes="benchmark",
    after=("evaluate",),  # latency is measured alone: two tasks of one run on the same machine would disturb each other
    figures=("p50_ms", "p90_ms", "p99_ms", "throughput_users_per_s"),
)
TUNE = Step(
    "tune",
    "Find the cheapest search that reaches a target coverage on validation users.",
    config="nann.config:TuneConfig",
    reads=("converted_model", "dataset"),
    writes="tuning",
)
SWEEP = Step(
    "sweep",
    "Search training settings on validation users, giving up bad trials early.",
    config="nann.config:SweepConfig",
    reads=("dataset",),
    writes="sweep",
    options=(SPACE,),
    runs=("train",),
    resumable=True,
    table="nann.reporting.sweep_page:read_trials",
)
SEEDS = Step(
    "seeds",
    "Run train to evaluate with several seeds; mean, and paired interval against the simple methods.",
    config="nann.config:SeedsConfig",
    reads=("dataset",),
    writes="seed_runs",
    runs=("train", "extract", "build-index", "rewrite", "evaluate"),
    resumable=True,
)
IN_SERVICE = Step(
    "in-service",
    "Take the version in service into a run.",
    config="nann.config:InServiceConfig",
    writes="in_service",
    options=(SERVICE,),
    cached=False,  # what is in service changes without any input changing
    figures=("version",),
)
GATE = Step(
    "gate",
    "Measure a candidate and the model in service on the same users, and say whether it may take its place.",
    config="nann.config:GateConfig",
    reads=("converted_model", "dataset", "in_service"),
    writes="gate",
    after=("evaluate", "benchmark"),  # latency is measured alone
    figures=("passed", "candidate.recall", "in_service.recall", "candidate.coverage", "candidate.latency_ms", "in_service.latency_ms"),
)
PUBLISH = Step(
    "publish",
    "Put a candidate that passed the gate in service; keep one that did not, with its report.",
    config="nann.config:PublishConfig",
    reads=("gate", "data_check", "dataset", "model", "index", "converted_model"),
    writes="publication",
    options=(SERVICE,),
    instead=Option(
        "item_tables", "--item-tables", "FILE", "Put tables of items in service: item_id, available, prior; nothing else is done."
    ),
    cached=False,
    figures=("published", "version"),
)
ITEM_PRIOR = Step(
    "item-prior",
    "Make tables of items whose prior is what is read now and what is new, for `nann publish --item-tables`.",
    config="nann.config:ItemPriorConfig",
    reads=("converted_model", "dataset"),
    writes="item_prior",
    options=(
        Option("recent", "--recent", "DIR", "Dataset of the last days, whose events are looked at instead; items are known by their ids."),
        Option("available", "--available", "FILE", "Tables of items whose column `available` is taken over, such as those in service."),
    ),
    after=("publish",),
    figures=("strength", "recall_without", "recall_with", "num_items"),
)
REPLAY = Step(
    "replay",
    "Walk a log window by window and measure retraining methods on what users do next.",
    config="nann.config:ReplayConfig",
    reads=("dataset",),
    writes="replay",
    resumable=True,
)
REPORT = Step(
    "report",
    "Write one HTML page about a whole run.",
    config="nann.config:ReportConfig",
    reads=("dataset", "model", "embeddings", "index", "converted_model", "evaluation", "benchmark"),
    writes="report",
    after=("publish", "item-prior"),
)

# All steps, in the order in which `nann --help` shows them.
STEPS: tuple[Step, ...] = (
    *(CONVERT, CHECK_DATA, TRAIN, EXTRACT, BUILD_INDEX, REWRITE, EVALUATE, BENCHMARK),
    *(TUNE, SWEEP, SEEDS, IN_SERVICE, GATE, PUBLISH, ITEM_PRIOR, REPLAY, REPORT),
)
# The DAGs: a step reads what steps before it write.
TRAINING_STEPS: tuple[Step, ...] = (CONVERT, TRAIN, EXTRACT, BUILD_INDEX, REWRITE, EVALUATE, BENCHMARK, REPORT)
RETRAINING_STEPS: tuple[Step, ...] = (IN_SERVICE, CONVERT, CHECK_DATA, *TRAINING_STEPS[1:-1], GATE, PUBLISH, ITEM_PRIOR, REPORT)
STEPS_OF: dict[str, tuple[Step, ...]] = {"training": TRAINING_STEPS, "retraining": RETRAINING_STEPS}
NAMES_OF: dict[str, tuple[str, ...]] = {name: tuple(step.name for step in steps) for name, steps in STEPS_OF.items()}

STEP_BY_NAME: dict[str, Step] = {step.name: step for step in STEPS}
MAKER_OF: dict[str, str] = {step.writes: step.name for step in STEPS}
# Steps of all DAGs, in an order that each of them keeps.
STEP_ORDER: tuple[str, ...] = NAMES_OF["retraining"]


def ancestors(name: str) -> set[str]:
    """Names of the steps that make what a step reads, what they read, and so on."""
    makers = {MAKER_OF[artifact] for artifact in STEP_BY_NAME[name].reads}
    return makers.union(*map(ancestors, makers))


def steps_from(dag: str, name: str | None) -> tuple[Step, ...]:
    """The steps of a DAG from one of them on; None: all."""
    return STEPS_OF[dag][NAMES_OF[dag].index(name) if name else 0 :]


def nearest_makers(step: Step) -> list[str]:
    """Names of the steps that make what a step reads, without those whose artifacts these were made from."""
    makers = [MAKER_OF[artifact] for artifact in step.reads]
    return [name for name in makers if not any(name in ancestors(other) for other in makers)]


# Sections that a config file may have: every step with a config, and the commands that write no artifact.
CONFIGS: dict[str, str] = {
    "generate": "data_prep.config:GenerateConfig",
    **{step.name: step.config for step in (*RETRAINING_STEPS, *STEPS) if step.config},
    "add-items": "nann.add_items_config:AddItemsConfig",
    "infer": "nann.config:InferConfig",
    "compare": "nann.config:CompareConfig",
    "serve": "nann.serve_config:ServeConfig",
}
