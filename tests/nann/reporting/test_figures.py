"""Pictures: well-formed, deterministic, nothing of one refers to another, sound on odd data."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pytest

from nann.reporting import figures

STEPS = list(range(0, 500, 10))
PICTURES: dict[str, Callable[[str], str]] = {
    "training": lambda name: figures.training_curves(
        STEPS, np.exp(-np.arange(50) / 9).tolist(), {"@5": [(100, 0.1), (490, 0.3)]}, name=name
    ),
    "training of one record": lambda name: figures.training_curves([7], [0.5], name=name),
    "recall": lambda name: figures.recall_bars([5, 10], [figures.Bars("a & b", "#888888", [0.1, 1.0], [(0.0, 0.2), None])], name=name),
    "recall of nothing found": lambda name: figures.recall_bars([5], [figures.Bars("none", "#888888", [0.0], [(0.0, 0.1)])], name=name),
    "width": lambda name: figures.width_curves(
        figures.WidthCurve([10, 20.5], {5: [0.5, 0.9]}, {5: [0.1, 0.2]}, {5: 0.25}, chosen=1), name=name
    ),
    "width of nothing found": lambda name: figures.width_curves(
        figures.WidthCurve([10], {5: [0.0]}, {5: [0.0]}, {}, chosen=None), name=name
    ),
    "latency": lambda name: figures.latency_histogram(np.random.default_rng(0).lognormal(size=999), {"p50": 1.0, "p99": 9.0}, name=name),
    "latency of equal requests": lambda name: figures.latency_histogram(np.full(3, 2.0), {"p50": 2.0}, name=name),
    "durations": lambda name: figures.step_durations(["convert", "train"], [0.0, 3700.0], [True, False], name=name),
    "sizes": lambda name: figures.artifact_sizes(["dataset", "model"], [0, 5_000_000], name=name),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_picture_is_one_scalable_deterministic_element(picture: str) -> None:
    text = PICTURES[picture]("a")
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.get("viewBox")
    assert root.get("width") is None
    assert text == PICTURES[picture]("a")
    assert "<metadata" not in text


@pytest.mark.parametrize("picture", PICTURES)
def test_ids_are_its_own_and_all_references_resolve(picture: str) -> None:
    first, second = (PICTURES[picture](name) for name in ("a", "b"))
    ids = [{element.get("id") for element in ET.fromstring(text).iter()} - {None} for text in (first, second)]
    assert ids[0].isdisjoint(ids[1])
    for text, own in zip((first, second), ids, strict=True):
        references = {value for part in text.split("url(#")[1:] for value in [part.split(")")[0]]}
        references |= {value for part in text.split('href="#')[1:] for value in [part.split('"')[0]]}
        assert references <= own


def test_values_and_labels_are_text() -> None:
    text = "".join(ET.fromstring(PICTURES["recall"]("a")).itertext())
    assert "a & b" in text
    assert "recall@10" in text


def test_requests_beyond_the_picture_are_counted() -> None:
    latency_ms = np.concatenate([np.linspace(1, 2, 1000), [50.0, 60.0]])
    text = "".join(ET.fromstring(figures.latency_histogram(latency_ms, {"p50": 1.5}, name="a")).itertext())
    assert "2 slower requests not shown, up to 60 ms" in text
