"""What every step refuses before it works, and the order that follows from what steps read."""

from pathlib import Path

import pytest

from nann.artifacts import Artifact
from nann.errors import ArtifactError
from nann.steps.opening import require_one_lineage
from nann.steps.table import BENCHMARK, CONVERT, GATE, PUBLISH, REPORT, REWRITE, STEP_BY_NAME, Step, nearest_makers


def artifact(step: str, digest: str, *sources: Artifact) -> Artifact:
    lineage: dict[str, str] = {}
    for source in sources:
        lineage |= {**source.lineage, STEP_BY_NAME[source.step].writes: source.digest}
    return Artifact(Path(step), {"step": step, "lineage": lineage}, digest)


def run(mark: str) -> dict[str, Artifact]:
    dataset = artifact("convert", f"dataset {mark}")
    model = artifact("train", f"model {mark}", dataset)
    embeddings = artifact("extract", f"embeddings {mark}", model, dataset)
    index = artifact("build-index", f"index {mark}", embeddings)
    return {"dataset": dataset, "model": model, "embeddings": embeddings, "index": index}


ONE, OTHER = run("one"), run("two")


@pytest.mark.parametrize("names", [(), ("dataset",), ("dataset", "index"), ("index", "embeddings", "model", "dataset")])
def test_artifacts_of_one_run_go_together(names: tuple[str, ...]) -> None:
    require_one_lineage({name: ONE[name] for name in names})


@pytest.mark.parametrize(
    ("mixed", "message"),
    [
        ({"model": OTHER["model"]}, r"nann train.*belongs to dataset.*run `nann train` again on the same dataset"),
        ({"embeddings": OTHER["embeddings"]}, r"run `nann extract` again on the same model"),
        ({"index": OTHER["index"]}, r"run `nann build-index` again on the same embeddings"),
        ({"dataset": OTHER["dataset"]}, r"run `nann train` again on the same dataset"),
    ],
)
def test_the_step_to_run_again_is_named(mixed: dict[str, Artifact], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        require_one_lineage({**ONE, **mixed})


def test_an_ancestor_that_is_no_input_may_lie_between() -> None:
    with pytest.raises(ArtifactError, match="belongs to dataset"):
        require_one_lineage({"dataset": ONE["dataset"], "index": OTHER["index"]})


@pytest.mark.parametrize(
    ("step", "makers"),
    [
        (CONVERT, []),
        (REWRITE, ["build-index"]),
        (BENCHMARK, ["rewrite"]),
        (GATE, ["rewrite", "in-service"]),
        (PUBLISH, ["gate", "check-data"]),
        (REPORT, ["evaluate", "benchmark"]),
    ],
    ids=lambda value: value.name if isinstance(value, Step) else "",
)
def test_a_task_takes_the_digests_that_hold_all_others(step: Step, makers: list[str]) -> None:
    assert nearest_makers(step) == makers
