import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from nann.steps.table import TRAINING_STEPS
from pipelines.compilation import compiled_spec
from pipelines.picture import draw_pipeline, lanes, ordered_tasks

ROOT = Path(__file__).parents[2]


def test_the_picture_in_the_docs_is_up_to_date() -> None:
    assert (ROOT / "docs" / "pipeline.svg").read_text() == draw_pipeline(compiled_spec()), "run `make picture`"


def test_order_and_lanes() -> None:
    spec = compiled_spec()
    order = ordered_tasks(spec)
    assert order[:5] == ["convert", "train", "extract", "build-index", "rewrite"]
    assert order[-1] == "report"
    by_name = {lane.name: lane for lane in lanes(spec)}
    assert set(by_name) == {"inputs", *(step.writes for step in TRAINING_STEPS)}
    for step in TRAINING_STEPS:
        assert by_name[step.writes].writer == order.index(step.name)
        readers = [order.index(other.name) for other in TRAINING_STEPS if step.writes in other.reads]
        assert sorted(by_name[step.writes].readers) == sorted(readers)


def test_it_is_svg_with_every_task() -> None:
    root = ElementTree.fromstring(draw_pipeline(compiled_spec()))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {step.name for step in TRAINING_STEPS} <= set(texts)


def test_a_circle_is_refused() -> None:
    tasks = {"a": {"dependentTasks": ["b"]}, "b": {"dependentTasks": ["a"]}}
    with pytest.raises(ValueError, match="depend on each other in a circle"):
        ordered_tasks({"root": {"dag": {"tasks": tasks}}})
