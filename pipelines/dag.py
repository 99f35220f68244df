"""A DAG made from the table of steps: its parameters with their defaults and descriptions, its tasks, and what each takes from others."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from kfp import dsl

from components.configs import make_config
from components.summarise import summarise
from nann.digests import code_digest
from nann.steps.table import IN_SERVICE, LOGS, MAKER_OF, NAMES_OF, SERVICE, STEPS_OF, Step, load_object, nearest_makers
from pipelines.profiles import Profile, apply_profile, apply_webhook
from pipelines.worker_pods import training_job

STEPS_GROUP = "steps"
COMMON = ("code_digest", "run_dir", "start_from", "overwrite")


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


def step_pipeline(dag: str, description: str, notes: Mapping[str, str], profile: Profile | None = None) -> Any:
    """A DAG of `STEPS_OF` as a kfp pipeline.

    Args:
        dag: its name.
        description: one sentence.
        notes: parameter -> its description, where it is another one than usual.
        profile: what the tasks get on a cluster.
    """
    steps, parameters = STEPS_OF[dag], dag_parameters(dag)

    def pipeline(*values: Any) -> None:
        given, tasks = dict(zip(parameters, values, strict=True)), dict[str, Any]()
        with dsl.ExitHandler(exit_task(given["run_dir"], NAMES_OF[dag], profile), name=STEPS_GROUP):
            for step in steps:
                tasks[step.name] = _task(step, tasks, given, profile)

    # kfp reads names, types and defaults of parameters from the signature, and their descriptions from the docstring.
    texts = [f"    {name}: {notes.get(name, text)}" for name, (_, text) in parameters.items()]
    pipeline.__doc__ = "\n".join([description, "", "Args:", *texts])
    pipeline.__signature__ = inspect.Signature([parameter for parameter, _ in parameters.values()])  # type: ignore[attr-defined]
    pipeline.__name__ = dag
    return dsl.pipeline(name=f"nann-{dag}", description=description)(pipeline)


def dag_parameters(dag: str) -> dict[str, tuple[inspect.Parameter, str]]:
    """Name -> parameter and its description."""
    steps = STEPS_OF[dag]
    found: list[tuple[str, type, Any, str]] = [
        (LOGS.argument, list, inspect.Parameter.empty, "Paths of the interaction logs (CSV or Parquet), as the tasks see them.")
    ]
    if any(step.takes(SERVICE.argument) for step in steps):
        text = "Directory or URL of the versions in service, as the tasks see it."
        found.append((SERVICE.argument, str, inspect.Parameter.empty, text))
    found += [
        (
            *("run_dir", str, ""),
            "Durable directory of the run, where a retried or resubmitted run resumes; empty for storage of the pipeline server.",
        ),
        (
            *("start_from", str, ""),
            "Run anew from this step, on the earlier artifacts in run_dir as they are; empty to keep what is up to date.",
        ),
        ("overwrite", bool, False, "Replace artifacts in run_dir that were made with other settings."),
        (
            *("input_digest", str, ""),
            "What identifies the contents of the logs; another value makes the cache miss. No step reads it.",
        ),
        ("code_digest", str, code_digest(), "Digest of the sources the run was made for; a task whose image has others fails."),
    ]
    for step in steps:
        if step.config:
            text = f"Options of the step {step.name}, as in `nann {step.name} --help`."
            found.append((step.config_parameter, dict, default_config(step.name), text))
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return {name: (inspect.Parameter(name, kind, default=default, annotation=hint), text) for name, hint, default, text in found}


def _task(step: Step, tasks: Mapping[str, Any], given: Mapping[str, Any], profile: Profile | None) -> Any:
    """The task of a step: its component with what it asks for, after the tasks it needs."""
    component, available = _component(step, profile)
    available |= {name: given[name] for name in (*COMMON, LOGS.argument, SERVICE.argument) if name in given}
    available |= {name: tasks[MAKER_OF[name]].outputs[name] for name in step.reads}
    # Each task passes on the digest of its artifact, which has those of all its ancestors in its lineage.
    digests = [tasks[name].outputs["Output"] for name in nearest_makers(step)] or [given["input_digest"]]
    if step.continues and IN_SERVICE.name in tasks:
        available[IN_SERVICE.writes] = tasks[IN_SERVICE.name].outputs[IN_SERVICE.writes]
        if not step.reads:
            digests.append(tasks[IN_SERVICE.name].outputs["Output"])
    available["input_digest"] = digests[0] if len(digests) == 1 else " ".join(map(str, digests))
    if step.config:
        available["config"] = given[step.config_parameter]
    task = component(**{name: available[name] for name in component.component_spec.inputs if name in available})
    if not step.cached:
        task.set_caching_options(False)
    task.after(*(tasks[name] for name in step.after if name in tasks))
    if profile is not None:
        apply_profile(task, step.name, profile)
    return task


def _component(step: Step, profile: Profile | None) -> tuple[Any, dict[str, Any]]:
    """The component that does the work, in its own pod or on the workers of a training job; and what it takes for that."""
    resources = profile.resources(step.name) if profile is not None else None
    if resources is None or resources.workers == 1:
        return load_object(f"components.{step.module}:{step.module}"), {}
    return load_object(f"components.{step.module}_workers:{step.module}"), {"job": training_job(resources)}
