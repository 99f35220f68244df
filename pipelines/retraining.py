"""The DAG of retraining: the new window goes on from what is in service, and takes its place if it is good enough.

in-service, convert, train, extract, build-index, rewrite, evaluate and benchmark, gate, publish, report. Where nothing is in service yet,
all of the log is converted and the model trained from scratch. Run it here with `nann pipeline run --pipeline retraining --service DIR`,
there by a schedule (`nann pipeline schedule daily-retraining`).
"""

from typing import Any

from kfp import dsl

from components.gate import gate
from components.in_service import in_service
from components.publish import publish
from components.report import report
from components.steps import STEPS_OF
from nann.artifacts import code_digest as digest_of_code
from pipelines.profiles import Profile, apply_profile
from pipelines.training import STEPS_GROUP, candidate_tasks, default_config, exit_task, training_task

PIPELINE_NAME = "nann-retraining"


def retraining_pipeline(profile: Profile | None = None) -> Any:
    """The DAG as a kfp pipeline, its tasks with the resources of a profile."""
    train_task = training_task(profile)
    names = [step.name for step in STEPS_OF["retraining"]]

    @dsl.pipeline(name=PIPELINE_NAME, description="A new window of a log in; what is in service is continued, compared with, and replaced.")
    def retraining(
        inputs: list,
        service: str,
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
        gate_config: dict = default_config("gate"),  # noqa: B008
        publish_config: dict = default_config("publish"),  # noqa: B008
    ):
        """A new window of a log in; what is in service is continued, compared with, and replaced.

        Args:
            inputs: Paths of the interaction logs (CSV or Parquet), as the tasks see them; events that are in service already are left out.
            service: Directory or URL of the versions in service, as the tasks see it.
            run_dir: Durable directory of the run, where a retried or resubmitted run resumes; empty for storage of the pipeline server.
            start_from: Run anew from this step, on the earlier artifacts in run_dir as they are; empty to keep what is up to date.
            overwrite: Replace artifacts in run_dir that were made with other settings, and take what is in service now.
            input_digest: What identifies the contents of the logs; another value makes the cache miss. No step reads it.
            code_digest: Digest of the sources the run was made for; a task whose image has others fails.
            convert_config: Options of the step convert, as in `nann convert --help`; since and until set the window.
            train_config: Options of the step train, as in `nann train --help`.
            extract_config: Options of the step extract, as in `nann extract --help`.
            build_index_config: Options of the step build-index, as in `nann build-index --help`.
            rewrite_config: Options of the step rewrite, as in `nann rewrite --help`.
            evaluate_config: Options of the step evaluate, as in `nann evaluate --help`.
            benchmark_config: Options of the step benchmark, as in `nann benchmark --help`.
            gate_config: Options of the step gate, as in `nann gate --help`.
            publish_config: Options of the step publish, as in `nann publish --help`.
        """
        common = {"code_digest": code_digest, "run_dir": run_dir, "start_from": start_from, "overwrite": overwrite}
        with dsl.ExitHandler(exit_task(run_dir, names, profile), name=STEPS_GROUP):
            taken = in_service(service=service, **common)
            taken.set_caching_options(False)  # what is in service changes without any input changing
            tasks = candidate_tasks(
                inputs=inputs,
                input_digest=f"{input_digest} {taken.outputs['Output']}",
                in_service=taken.outputs["in_service"],
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
            candidate = {
                "dataset": tasks["convert"].outputs["dataset"],
                "converted_model": tasks["rewrite"].outputs["converted_model"],
            }
            model = tasks["train"].outputs["model"]
            gated = gate(
                **candidate,
                in_service=taken.outputs["in_service"],
                config=gate_config,
                input_digest=f"{tasks['rewrite'].outputs['Output']} {taken.outputs['Output']}",
                **common,
            )
            gated.after(tasks["evaluate"], tasks["benchmark"])  # latency is measured alone
            published = publish(
                **candidate,
                model=model,
                gate=gated.outputs["gate"],
                service=service,
                config=publish_config,
                input_digest=gated.outputs["Output"],
                **common,
            )
            published.set_caching_options(False)
            reported = report(
                **candidate,
                model=model,
                embeddings=tasks["extract"].outputs["embeddings"],
                index=tasks["build-index"].outputs["index"],
                evaluation=tasks["evaluate"].outputs["evaluation"],
                benchmark=tasks["benchmark"].outputs["benchmark"],
                input_digest=f"{tasks['evaluate'].outputs['Output']} {tasks['benchmark'].outputs['Output']}",
                **common,
            )
            reported.after(published)
            if profile is not None:
                tasks |= {"in-service": taken, "gate": gated, "publish": published, "report": reported}
                for name in names:
                    apply_profile(tasks[name], name, profile)

    return retraining


retraining = retraining_pipeline()
