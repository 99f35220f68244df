"""The DAG from logs to a measured retrieval graph: convert, train, extract, build-index, rewrite, evaluate and benchmark, report.

Compile it with `nann pipeline compile --output training.yaml`, run it here with `nann pipeline run`, there with `nann pipeline submit`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kfp import dsl

from components import train_workers
from components.benchmark import benchmark
from components.build_index import build_index
from components.configs import make_config
from components.convert import convert
from components.evaluate import evaluate
from components.extract import extract
from components.report import report
from components.rewrite import rewrite
from components.steps import STEP_NAMES
from components.summarise import summarise
from components.train import train
from nann.artifacts import code_digest as digest_of_code
from pipelines.profiles import Profile, apply_profile, apply_webhook
from pipelines.worker_pods import training_job

PIPELINE_NAME = "nann-training"
STEPS_GROUP = "steps"


def default_config(section: str) -> dict[str, Any]:
    """The default config of a step as JSON-able values."""
    return make_config(section).model_dump(mode="json", exclude_none=True)  # kfp structs hold no null


def exit_task(run_dir: Any, steps: Sequence[str], profile: Profile | None) -> Any:
    """The task that runs when all others have ended, however that was: for `dsl.ExitHandler`."""
    task = summarise(steps=list(steps), run_dir=run_dir, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
    task.set_caching_options(False)  # it reads a directory, not its inputs
    if profile is not None:
        apply_profile(task, "summarise", profile)
        if profile.webhook is not None:
            apply_webhook(task, profile.webhook)
    return task


def training_task(profile: Profile | None) -> Callable[..., Any]:
    """The component that trains: in its own pod, or on the workers of a training job where the profile has several."""
    resources = profile.resources("train") if profile is not None else None
    if resources is None or resources.workers == 1:
        return train
    return functools.partial(train_workers.train, job=training_job(resources))


def candidate_tasks(
    *,
    inputs: Any,
    input_digest: Any,
    configs: Mapping[str, Any],
    common: Mapping[str, Any],
    train_task: Callable[..., Any],
    in_service: Any = None,
) -> dict[str, Any]:
    """The tasks from logs to a measured candidate, by step; called inside a pipeline.

    Args:
        inputs: paths of the logs.
        input_digest: what identifies their contents, and that of what is in service.
        configs: step -> its options.
        common: parameters of every task.
        train_task: see `training_task`.
        in_service: artifact of `in-service` that conversion and training go on from; None: they begin anew.
    """
    # Each passes on the digest of its artifact, which has those of all its ancestors in its lineage.
    continued = {} if in_service is None else {"in_service": in_service}
    converted = convert(inputs=inputs, config=configs["convert"], input_digest=input_digest, **continued, **common)
    # The paths of the logs say nothing about their contents; `nann pipeline submit --input-digest` allows the cache.
    converted.set_caching_options(False)
    dataset = converted.outputs["dataset"]
    trained = train_task(dataset=dataset, config=configs["train"], input_digest=converted.outputs["Output"], **continued, **common)
    model = trained.outputs["model"]
    extracted = extract(model=model, dataset=dataset, config=configs["extract"], input_digest=trained.outputs["Output"], **common)
    embeddings = extracted.outputs["embeddings"]
    built = build_index(embeddings=embeddings, config=configs["build-index"], input_digest=extracted.outputs["Output"], **common)
    rewritten = rewrite(
        model=model,
        dataset=dataset,
        embeddings=embeddings,
        index=built.outputs["index"],
        config=configs["rewrite"],
        input_digest=built.outputs["Output"],
        **common,
    )
    graph = {"converted_model": rewritten.outputs["converted_model"], "input_digest": rewritten.outputs["Output"]}
    evaluated = evaluate(dataset=dataset, config=configs["evaluate"], **graph, **common)
    measured = benchmark(dataset=dataset, config=configs["benchmark"], **graph, **common)
    # Latency is measured alone: two tasks of one run on the same machine would disturb each other.
    measured.after(evaluated)
    return {
        "convert": converted,
        "train": trained,
        "extract": extracted,
        "build-index": built,
        "rewrite": rewritten,
        "evaluate": evaluated,
        "benchmark": measured,
    }


def training_pipeline(profile: Profile | None = None) -> Any:
    """The DAG as a kfp pipeline, its tasks with the resources of a profile."""
    train_task = training_task(profile)

    @dsl.pipeline(name=PIPELINE_NAME, description="Interaction logs in, a servable retrieval graph with measured recall and latency out.")
    def training(
        inputs: list,
        run_dir: str = "",
        start_from: str = "",
        overwrite: bool = False,
        input_digest: str = "",
        code_digest: str = digest_of_code(),
        convert_config: dict = default_config("convert"),  # noqa: B008 (kfp reads the defaults, nobody changes them)
        train_config: dict = default_config("train"),  # noqa: B008
        extract_config: dict = default_config("extract"),  # noqa: B008
        build_index_config: dict = default_config("build-index"),  # noqa: B008
        rewrite_config: dict = default_config("rewrite"),  # noqa: B008
        evaluate_config: dict = default_config("evaluate"),  # noqa: B008
        benchmark_config: dict = default_config("benchmark"),  # noqa: B008
    ):
        """Interaction logs in, a servable retrieval graph with measured recall and latency out.

        Args:
            inputs: Paths of the interaction logs (CSV or Parquet), as the tasks see them.
            run_dir: Durable directory of the run, where a retried or resubmitted run resumes; empty for storage of the pipeline server.
            start_from: Run anew from this step, on the earlier artifacts in run_dir as they are; empty to keep what is up to date.
            overwrite: Replace artifacts in run_dir that were made with other settings.
            input_digest: What identifies the contents of the logs; another value makes the cache miss. No step reads it.
            code_digest: Digest of the sources the run was made for; a task whose image has others fails.
            convert_config: Options of the step convert, as in `nann convert --help`.
            train_config: Options of the step train, as in `nann train --help`.
            extract_config: Options of the step extract, as in `nann extract --help`.
            build_index_config: Options of the step build-index, as in `nann build-index --help`.
            rewrite_config: Options of the step rewrite, as in `nann rewrite --help`.
            evaluate_config: Options of the step evaluate, as in `nann evaluate --help`.
            benchmark_config: Options of the step benchmark, as in `nann benchmark --help`.
        """
        common = {"code_digest": code_digest, "run_dir": run_dir, "start_from": start_from, "overwrite": overwrite}
        with dsl.ExitHandler(exit_task(run_dir, STEP_NAMES, profile), name=STEPS_GROUP):
            tasks = candidate_tasks(
                inputs=inputs,
                input_digest=input_digest,
                train_task=train_task,
                configs={
                    "convert": convert_config,
                    "train": train_config,
                    "extract": extract_config,
                    "build-index": build_index_config,
                    "rewrite": rewrite_config,
                    "evaluate": evaluate_config,
                    "benchmark": benchmark_config,
                },
                common=common,
            )
            reported = report(
                dataset=tasks["convert"].outputs["dataset"],
                model=tasks["train"].outputs["model"],
                embeddings=tasks["extract"].outputs["embeddings"],
                index=tasks["build-index"].outputs["index"],
                converted_model=tasks["rewrite"].outputs["converted_model"],
                evaluation=tasks["evaluate"].outputs["evaluation"],
                benchmark=tasks["benchmark"].outputs["benchmark"],
                input_digest=f"{tasks['evaluate'].outputs['Output']} {tasks['benchmark'].outputs['Output']}",
                **common,
            )
            if profile is not None:
                for name, task in {**tasks, "report": reported}.items():
                    apply_profile(task, name, profile)

    return training


training = training_pipeline()
