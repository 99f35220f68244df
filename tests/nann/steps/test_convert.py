"""The step `convert`: an artifact that is complete or absent, and that a killed run does not spoil."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep import DataError, shards
from data_prep.config import ConvertConfig, GenerateConfig
from data_prep.generate import generate_log
from nann.artifacts import open_artifact, sha256_file
from nann.errors import ArtifactError
from nann.steps.convert import convert

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "log.csv"
    generate_log(path, GenerateConfig(users=400, items=300, categories=10, events_per_user=12))
    return path


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_the_artifact_says_what_it_was_made_from(log: Path, tmp_path: Path) -> None:
    result = convert(inputs=[log], dataset=tmp_path / "dataset", config=ConvertConfig())
    artifact = open_artifact(tmp_path / "dataset", step="convert")
    assert artifact.manifest["inputs"] == {"log:log.csv": sha256_file(log)}
    assert artifact.metrics == result.metrics
    assert result.metrics["num_users"] == 400
    assert {path.name.split("-")[0] for path in artifact.path.iterdir()} == {
        "train",
        "validate",
        "test",
        "items.parquet",
        "meta.json",
        "manifest.json",
    }
    assert str(log.parent) not in (artifact.path / "manifest.json").read_text() + (artifact.path / "meta.json").read_text()


def test_an_equal_dataset_is_reused_and_another_one_protected(log: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    convert(inputs=[log], dataset=dataset, config=ConvertConfig())
    before = contents(dataset)
    assert convert(inputs=[log], dataset=dataset, config=ConvertConfig()).reused
    with pytest.raises(ArtifactError, match="--overwrite"):
        convert(inputs=[log], dataset=dataset, config=ConvertConfig(seed=2))
    assert contents(dataset) == before
    assert not convert(inputs=[log], dataset=dataset, config=ConvertConfig(seed=2), overwrite=True).reused
    convert(inputs=[log], dataset=dataset, config=ConvertConfig(), overwrite=True)
    assert contents(dataset) == before


def test_the_items_file_counts_by_its_content_not_its_path(log: Path, tmp_path: Path) -> None:
    items = []
    lines = {line.split(",")[1] for line in log.read_text().splitlines()}
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        items.append(tmp_path / place / "items.csv")
        items[-1].write_text("item_id,category_id\n" + "".join(f"{item},{int(item) % 5}\n" for item in sorted(lines)))
    dataset = tmp_path / "dataset"
    convert(inputs=[log], dataset=dataset, config=ConvertConfig(items=items[0]))
    assert open_artifact(dataset, step="convert").manifest["inputs"]["items:items.csv"] == sha256_file(items[0])
    assert convert(inputs=[log], dataset=dataset, config=ConvertConfig(items=items[1])).reused
    items[1].write_text(items[1].read_text() + "1,1\n")
    with pytest.raises(ArtifactError, match="inputs"):
        convert(inputs=[log], dataset=dataset, config=ConvertConfig(items=items[1]))


def test_a_missing_input_is_named_before_any_work(log: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        convert(inputs=[log, tmp_path / "nowhere.csv"], dataset=tmp_path / "dataset", config=ConvertConfig())
    with pytest.raises(DataError, match=r"items\.csv does not exist"):
        convert(inputs=[log], dataset=tmp_path / "dataset", config=ConvertConfig(items=tmp_path / "items.csv"))
    assert not list(tmp_path.iterdir())


def test_a_failed_conversion_leaves_nothing(log: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hold out fewer"):
        convert(inputs=[log], dataset=tmp_path / "dataset", config=ConvertConfig(test_users=400))
    with pytest.raises(DataError, match="time_out_of_range"):
        convert(inputs=[log], dataset=tmp_path / "dataset", config=ConvertConfig(max_time=1_000_000_000))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "function", "call"),
    [
        ("data_prep.log_reader", "parse_block", 1),
        ("data_prep.convert", "count_events", 1),
        ("data_prep.convert", "scatter_events", 1),
        ("data_prep.convert", "save_plan", 1),
        ("data_prep.shards", "encode_block", 1),
        ("data_prep.shards", "encode_block", 8),
        ("data_prep.shards", "encode_block", 23),
        ("data_prep.convert", "write_items", 1),
    ],
)
def test_a_killed_conversion_goes_on_to_the_same_bytes(module: str, function: str, call: int, log: Path, tmp_path: Path) -> None:
    """The child stops for good at a call of a function; the parent then kills it."""
    dataset = tmp_path / "dataset"
    child = f"""
import importlib, threading, time
from pathlib import Path
from data_prep.config import ConvertConfig
from nann.steps.convert import convert
module = importlib.import_module({module!r})
original, calls, lock = module.{function}, [], threading.Lock()
def stall(*arguments, **options):
    with lock:
        calls.append(1)
        if len(calls) == {call}:
            print("stalled", flush=True)
            time.sleep(600)
    return original(*arguments, **options)
module.{function} = stall
convert(inputs=[Path({str(log)!r})], dataset=Path({str(dataset)!r}), config=ConvertConfig(partitions=5))
"""
    with subprocess.Popen(
        [sys.executable, "-c", child], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().strip() == "stalled"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not dataset.exists()
    assert (tmp_path / ".dataset.partial" / ".work").is_dir()
    convert(inputs=[log], dataset=dataset, config=ConvertConfig(partitions=2))
    convert(inputs=[log], dataset=tmp_path / "undisturbed", config=ConvertConfig())
    assert contents(dataset) == contents(tmp_path / "undisturbed")
    assert not (tmp_path / ".dataset.partial").exists()


def test_partitions_that_were_written_are_not_written_again(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = []
    encode = shards.encode_block

    def fail_at_the_tenth(features: dict) -> np.ndarray:
        blocks.append(len(features["user_id"].values))
        if len(blocks) == 10:
            raise KeyboardInterrupt
        return encode(features)

    config = ConvertConfig(partitions=6, shards=1, threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(shards, "encode_block", fail_at_the_tenth)
        with pytest.raises(KeyboardInterrupt):
            convert(inputs=[log], dataset=tmp_path / "dataset", config=config)
    assert not (tmp_path / "dataset").exists()
    before = len(blocks)
    monkeypatch.setattr(shards, "encode_block", fail_at_the_tenth)
    convert(inputs=[log], dataset=tmp_path / "dataset", config=config)
    assert len(blocks) - before <= 18 - 9  # three splits in six partitions; three partitions were done


def test_the_directory_counts_as_its_files(log: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    (parts / "day=2").mkdir(parents=True)
    lines = log.read_bytes().splitlines(keepends=True)
    (parts / "a.csv").write_bytes(b"".join(lines[:100]))
    (parts / "day=2" / "b.csv").write_bytes(b"".join(lines[100:]))
    (parts / "_SUCCESS").write_bytes(b"")
    convert(inputs=[parts], dataset=tmp_path / "dataset", config=ConvertConfig())
    manifest = open_artifact(tmp_path / "dataset", step="convert").manifest
    assert manifest["inputs"] == {"log:0:a.csv": sha256_file(parts / "a.csv"), "log:1:b.csv": sha256_file(parts / "day=2" / "b.csv")}


@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_kills_at_other_moments(delay: float, log: Path, tmp_path: Path) -> None:
    """Whatever the moment of the kill was, the artifact is absent or complete, and a second run completes it."""
    dataset = tmp_path / "dataset"
    child = (
        "from pathlib import Path; from data_prep.config import ConvertConfig; from nann.steps.convert import convert; "
        f"print('ready', flush=True); convert(inputs=[Path({str(log)!r})], dataset=Path({str(dataset)!r}), config=ConvertConfig())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", child], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().strip() == "ready"
        time.sleep(delay)
        process.kill()
    if dataset.exists():
        open_artifact(dataset, step="convert")
    convert(inputs=[log], dataset=dataset, config=ConvertConfig())
    metrics = open_artifact(dataset, step="convert").metrics
    assert json.loads((dataset / "meta.json").read_text())["num_events"] == metrics["num_events"]
