"""Pods of a run: counted in the compiled document, against those of the stand-in's workflows and against counts by hand."""

from typing import Any

import pytest
from kfp import compiler, dsl

from nann.steps.table import RETRAINING_STEPS, TRAINING_STEPS
from pipelines.compilation import DAGS, compiled_spec
from pipelines.pod_count import PodCount, count_spec_pods, has_loops
from pipelines.workflow import count_pods


@pytest.mark.parametrize(
    ("dag", "count"),
    [
        ("training", PodCount(executors=9, drivers=9, sub_dags=2)),  # 8 steps and the exit task; the pipeline and the group of steps
        ("retraining", PodCount(executors=14, drivers=14, sub_dags=2)),
    ],
)
def test_the_pods_of_a_run(dag: str, count: PodCount) -> None:
    assert count_spec_pods(compiled_spec(dag)) == count
    assert count.executors == len({"training": TRAINING_STEPS, "retraining": RETRAINING_STEPS}[dag]) + 1


def test_the_conversion_alone_loops_and_costs_three_pods_a_shard() -> None:
    assert [dag for dag in DAGS if has_loops(compiled_spec(dag))] == ["conversion"]
    spec = compiled_spec("conversion")
    one, eight = count_spec_pods(spec), count_spec_pods(spec, passes=8)
    assert one == PodCount(executors=3, drivers=3, sub_dags=4)
    assert eight == one + PodCount(executors=1, drivers=1, sub_dags=1) * 7


@pytest.mark.parametrize("dag", ["training", "retraining"])
def test_the_workflow_of_a_run_has_as_many(stub: Any, dag: str) -> None:
    steps = {"training": TRAINING_STEPS, "retraining": RETRAINING_STEPS}[dag]
    stub.add_run("SUCCEEDED", pipeline=dag, **{step.name.replace("-", "_"): "Succeeded" for step in steps})
    counted, real = count_spec_pods(compiled_spec(dag)), count_pods(stub.workflows["run-x"].manifest())
    assert real == {"executor": counted.executors, "driver": counted.drivers, "sub-DAG": counted.sub_dags}


def test_an_importer_is_one_pod_and_a_nested_pipeline_one_more(tmp_path: Any) -> None:
    @dsl.component(base_image="x")
    def work(data: dsl.Input[dsl.Artifact]):
        pass

    @dsl.pipeline(name="inner")
    def inner(data: dsl.Input[dsl.Artifact]):
        work(data=data)

    @dsl.pipeline(name="outer")
    def outer():
        imported = dsl.importer(artifact_uri="x://y", artifact_class=dsl.Artifact)
        inner(data=imported.output)
        with dsl.ParallelFor([1, 2]):
            inner(data=imported.output)

    import yaml

    path = tmp_path / "outer.yaml"
    compiler.Compiler().compile(outer, str(path))
    count = count_spec_pods(yaml.safe_load(path.read_text()), passes=2)
    # Importer 1; inner: its own driver, and driver and executor; the loop: its driver, and per pass its own, inner's, driver and executor.
    assert count == PodCount(executors=1 + 1 + 2, drivers=1 + 2, sub_dags=1 + 1 + (1 + 2 * 2))
    assert str(count) == "14 pods: 4 executors, 3 drivers, 7 drivers of (sub-)DAGs"
