"""The step `convert`: an artifact that is complete or absent, and that a killed run does not spoil."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep import DataError
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


def test_a_killed_conversion_run_again_gives_the_same_bytes(log: Path, tmp_path: Path) -> None:
    """The child stops itself for good after its second shard; the parent then kills it."""
    dataset = tmp_path / "dataset"
    child = f"""
import sys, time
from pathlib import Path
import data_prep.shards as shards
from data_prep.config import ConvertConfig
from nann.steps.convert import convert
write = shards.write_records
def write_and_stall(path, blocks):
    size = write(path, blocks)
    if "00001-of" in path.name:
        print("stalled", flush=True)
        time.sleep(600)
    return size
shards.write_records = write_and_stall
convert(inputs=[Path({str(log)!r})], dataset=Path({str(dataset)!r}), config=ConvertConfig())
"""
    with subprocess.Popen(
        [sys.executable, "-c", child], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().strip() == "stalled"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not dataset.exists()
    assert (tmp_path / ".dataset.partial" / "train-00001-of-00004.tfrecord").is_file()
    convert(inputs=[log], dataset=dataset, config=ConvertConfig())
    convert(inputs=[log], dataset=tmp_path / "undisturbed", config=ConvertConfig())
    assert contents(dataset) == contents(tmp_path / "undisturbed")
    assert not (tmp_path / ".dataset.partial").exists()


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
