"""What a change of the version leaves behind."""

import itertools
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nann.serving.places import ModelPlace

switching = pytest.importorskip("nann.serving.switching", reason="nann serve is an extra: pip install 'nann-pipeline[serve]'")
metrics = pytest.importorskip("nann.serving.metrics")


class Model:
    """As much of an opened model as is asked of it, in a circle like those of TensorFlow."""

    num_items, no_item, inputs = 2, -1, ()
    category_rows = np.zeros(3, np.int64)

    def __init__(self, place: ModelPlace) -> None:
        self.place, self.form, self.retrieval, self.asked = place, "portable", self, 0

    def follow(self, place: ModelPlace) -> bool:
        return False

    def run(self, signature: str, **inputs: Any) -> None:
        self.asked += 1


def test_the_version_before_is_let_go() -> None:
    numbers = itertools.count(1)
    versions = switching.VersionInService(lambda: ModelPlace(Path("here"), next(numbers)), Model, metrics.ServerMetrics(), users=4)
    before = weakref.ref(versions.model)
    assert versions.look()
    assert versions.model.place.version == 2
    assert versions.model.asked == 4  # both signatures, with one user and with as many as a call may hold
    assert before() is None
