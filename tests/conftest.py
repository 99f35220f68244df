"""Fixtures shared by all packages: a small generated log and the dataset converted from it."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import logging
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

REPOSITORY = Path(__file__).resolve().parent.parent
LEVELS = {name: logging.getLogger(name).level for name in ("", "nann", "data_prep", "ops", "components", "pipelines", "tensorflow")}


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Takes back what a command set up, in a test or a shared fixture: the next test would log, or not, as that command was told."""
    handlers = list(logging.getLogger().handlers)
    _set_levels()
    yield
    _set_levels()
    logging.getLogger().handlers[:] = handlers


def _set_levels() -> None:
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def nothing_waits_for_the_disk() -> Iterator[None]:
    """Nothing is read after a loss of power here, and artifacts are many: what syncs a file only has to hand over one that is open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of the real logs; the test is skipped where they are not."""
    directory = Path(os.environ.get("NANN_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"real logs are not here: no directory {directory} (NANN_SHARED_DATA names another)")
    return directory


@pytest.fixture(scope="session")
def small_log(tmp_path_factory) -> Path:
    """A generated log: 600 users, 500 items, planted structure."""
    from data_prep.config import GenerateConfig
    from data_prep.generate import generate_log

    path = tmp_path_factory.mktemp("log") / "log.csv"
    generate_log(path, GenerateConfig(users=600, items=500, categories=20, events_per_user=15, seed=5))
    return path


@pytest.fixture(scope="session")
def small_dataset(small_log, tmp_path_factory) -> Path:
    """The `user` layout dataset of `small_log`."""
    from data_prep.config import ConvertConfig
    from nann.steps.convert import convert

    path = tmp_path_factory.mktemp("dataset") / "dataset"
    convert(inputs=[small_log], dataset=path, config=ConvertConfig(shards=2, max_length=20))
    return path
