"""What a change of the version leaves behind."""

import itertools
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nann.errors import ArtifactError
from nann.serving.answers import status
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


class Follower(Model):
    """Takes other tables, but not those of a bad name."""

    def follow(self, place: ModelPlace) -> bool:
        assert place.item_tables is not None
        if place.item_tables.name == "bad":
            raise ArtifactError("the table of items names no item")
        self.place = place
        return True


def test_tables_that_cannot_be_used_are_said_and_the_next_ones_are_taken_at_once(caplog: pytest.LogCaptureFixture) -> None:
    found = [ModelPlace(Path("here"))]
    versions = switching.VersionInService(lambda: found[0], Follower, metrics.ServerMetrics())
    found[0] = ModelPlace(Path("here"), item_tables=Path("bad"))
    versions.watch(0.05)
    wait_for(lambda: versions.failed is not None)
    assert "the tables bad of items are not used, version 1 stays as it is: the table of items names no item" in caplog.text
    (state,) = status(1, versions.failed)["model_version_status"]
    assert (state["state"], state["status"]["error_message"]) == ("AVAILABLE", "the table of items names no item")
    wait_for(lambda: caplog.text.count("are not used") == 5)  # the next try is more than a second away
    found[0] = ModelPlace(Path("here"), item_tables=Path("good"))
    begin = time.monotonic()
    wait_for(lambda: versions.failed is None)
    assert versions.model.place.item_tables == Path("good")
    assert time.monotonic() - begin < 1
    versions.close()


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)
