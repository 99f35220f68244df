"""The step `convert`: an artifact that is complete or absent, and that a killed run does not spoil."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from data_prep import DataError, shards
from data_prep.config import ConvertConfig, GenerateConfig
from data_prep.generate import generate_log
from nann.artifacts import open_artifact
from nann.dataset import load_histories, load_items, load_samples
from nann.digests import sha256_file
from nann.errors import ArtifactError
from nann.steps.convert import convert
from ops.data_library import load_data_library

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
        ("data_prep.planning", "count_events", 1),
        ("data_prep.planning", "scatter_events", 1),
        ("data_prep.planning", "save_plan", 1),
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


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("layout", ["user", "sample"])
def test_the_manifest_has_the_digests_of_the_files(layout: str, compression: str, log: Path, tmp_path: Path) -> None:
    """Some files are hashed while they are written; the manifest must say the same as the files on disk."""
    convert(inputs=[log], dataset=tmp_path / "dataset", config=ConvertConfig(layout=layout, compression=compression, partitions=3))
    files = open_artifact(tmp_path / "dataset", step="convert").manifest["files"]
    assert {name: entry["sha256"] for name, entry in files.items()} == {name: sha256_file(tmp_path / "dataset" / name) for name in files}


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_shard_damaged_after_a_kill_is_written_anew(damage: str, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, calls, encode = ConvertConfig(partitions=6, shards=1, threads=1), [], shards.encode_block

    def fail_at_the_tenth(features: dict) -> np.ndarray:
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return encode(features)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "encode_block", fail_at_the_tenth)
        with pytest.raises(KeyboardInterrupt):
            convert(inputs=[log], dataset=tmp_path / "dataset", config=config)
    records = tmp_path / ".dataset.partial" / ".work" / "train-00000.records"
    data = bytearray(records.read_bytes())
    data[100] ^= 1
    records.write_bytes(data if damage == "changed" else data[:100])
    convert(inputs=[log], dataset=tmp_path / "dataset", config=config)
    convert(inputs=[log], dataset=tmp_path / "undisturbed", config=config)
    assert contents(tmp_path / "dataset") == contents(tmp_path / "undisturbed")


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


@pytest.mark.parametrize("layout", ["user", "sample"])
def test_gzip_records_are_read_back(layout: str, log: Path, tmp_path: Path) -> None:
    for name in ("none", "gzip"):
        convert(inputs=[log], dataset=tmp_path / name, config=ConvertConfig(layout=layout, compression=name))
    plain, packed = (load_histories(tmp_path / name) for name in ("none", "gzip"))
    np.testing.assert_array_equal(plain.item_rows, packed.item_rows)
    np.testing.assert_array_equal(plain.row_splits, packed.row_splits)
    np.testing.assert_array_equal(load_samples(tmp_path / "none", "test").targets, load_samples(tmp_path / "gzip", "test").targets)
    assert (tmp_path / "gzip" / "train-00000-of-00004.tfrecord.gz").stat().st_size > 0


@pytest.mark.parametrize("kind", ["zst", "parquet-directory"])
def test_other_sources_hold_the_same_log(kind: str, log: Path, tmp_path: Path) -> None:
    source = tmp_path / "log.csv.zst"
    if kind == "zst":
        with pa.CompressedOutputStream(str(source), "zstd") as stream:
            stream.write(log.read_bytes())
    else:
        names = ["user_id", "item_id", "category_id", "behavior_type", "timestamp"]
        table = pyarrow.csv.read_csv(log, pyarrow.csv.ReadOptions(column_names=names))
        source = tmp_path / "parts"
        source.mkdir()
        for part, begin in enumerate(range(0, table.num_rows, 1000)):
            pyarrow.parquet.write_table(table.slice(begin, 1000), source / f"part-{part:05d}.parquet")
    convert(inputs=[source], dataset=tmp_path / "found", config=ConvertConfig())
    convert(inputs=[log], dataset=tmp_path / "expected", config=ConvertConfig())
    found, expected = contents(tmp_path / "found"), contents(tmp_path / "expected")
    for name in ("manifest.json", "meta.json"):
        del found[name], expected[name]
    assert found == expected


def test_filters_leave_out_what_they_say(log: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in log.read_text().splitlines()]
    moment = sorted(int(row[4]) for row in rows)[len(rows) // 4]
    options = {"behaviors": ("pv",), "since": str(moment), "min_item_events": 3, "min_user_events": 2}
    result = convert(inputs=[log], dataset=tmp_path / "dataset", config=ConvertConfig(**options))
    kept = [row for row in rows if row[3] == "pv"]
    filtered = {"other_behavior": len(rows) - len(kept)}
    kept = [row for row in kept if int(row[4]) >= moment]
    filtered["outside_time_window"] = len(rows) - filtered["other_behavior"] - len(kept)
    for column, least, name in ((1, 3, "item_with_few_events"), (0, 2, "user_with_few_events")):
        counts = Counter(row[column] for row in kept)
        before = len(kept)
        kept = [row for row in kept if counts[row[column]] >= least]
        filtered[name] = before - len(kept)
    meta = json.loads((tmp_path / "dataset" / "meta.json").read_text())
    assert meta["filtered_rows"] == {name: number for name, number in filtered.items() if number}
    assert result.metrics["num_events"] == len(kept)
    (tmp_path / "kept.csv").write_text("".join(",".join(row) + "\n" for row in kept))
    convert(inputs=[tmp_path / "kept.csv"], dataset=tmp_path / "kept", config=ConvertConfig())
    found, expected = contents(tmp_path / "dataset"), contents(tmp_path / "kept")
    for name in ("manifest.json", "meta.json"):
        del found[name], expected[name]
    assert found == expected


def test_impossible_filters_are_refused(log: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no usable row is left of .* with other behaviors"):
        convert(inputs=[log], dataset=tmp_path / "a", config=ConvertConfig(behaviors=("sold",)))
    with pytest.raises(DataError, match="no usable row is left after outside_time_window"):
        convert(inputs=[log], dataset=tmp_path / "a", config=ConvertConfig(since="2030-01-01"))
    (tmp_path / "narrow.csv").write_text("user_id,item_id,timestamp\n1,2,1511600000\n")
    with pytest.raises(DataError, match="the log has no behavior column; give --columns"):
        convert(inputs=[tmp_path / "narrow.csv"], dataset=tmp_path / "a", config=ConvertConfig(behaviors=("pv",)))


@pytest.mark.parametrize("layout", ["user", "sample"])
def test_weights_of_behaviors_reach_the_histories(layout: str, log: Path, tmp_path: Path) -> None:
    """Event by event against the log; a weight changes nothing else than the additional feature."""
    weights = {"pv": 0.25, "buy": 1.0, "fav": 3.0}
    options = {"layout": layout, "test_users": 5, "validate_users": 5}
    weighted = ConvertConfig(behaviors=("pv:0.25", "buy", "fav:3"), **options)
    convert(inputs=[log], dataset=tmp_path / "weighted", config=weighted.model_copy(update={"partitions": 4}))
    convert(inputs=[log], dataset=tmp_path / "again", config=weighted)
    assert contents(tmp_path / "weighted") == contents(tmp_path / "again")
    convert(inputs=[log], dataset=tmp_path / "plain", config=ConvertConfig(behaviors=("pv", "buy", "fav"), **options))
    found, plain = load_histories(tmp_path / "weighted", times=True), load_histories(tmp_path / "plain", times=True)
    assert plain.weights is None
    for name in ("item_rows", "row_splits", "times"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    expected = Counter()
    items = load_items(tmp_path / "weighted")
    for row in csv.reader(log.read_text().splitlines()):
        if row[3] in weights:
            expected[int(row[1]), int(row[4]), weights[row[3]]] += 1
    targets = np.arange(len(found.item_rows)) - np.repeat(found.row_splits[:-1], np.diff(found.row_splits)) >= found.first_target
    chosen = np.flatnonzero(targets)
    events = Counter(
        (int(items.item_ids[found.item_rows[place]]), int(found.times[place]), float(found.weights[place])) for place in chosen
    )
    assert not events - expected
    assert set(found.weights[chosen].tolist()) == set(weights.values())
    meta = json.loads((tmp_path / "weighted" / "meta.json").read_text())
    assert meta["behavior_weights"] == [["pv", 0.25], ["buy", 1.0], ["fav", 3.0]]


@pytest.mark.parametrize(("behaviors", "message"), [(("pv:0",), "above 0"), (("pv", "pv:2"), "twice"), (("pv:inf",), "above 0")])
def test_impossible_weights_are_refused(behaviors: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvertConfig(behaviors=behaviors)
    assert ConvertConfig(behaviors=("a:b", "c:d:2")).behavior_names == ("a:b", "c:d")


@pytest.mark.skipif(load_data_library() is None, reason="without the native data library records go through TensorFlow")
def test_a_conversion_does_not_load_tensorflow(log: Path, tmp_path: Path) -> None:
    child = (
        "import sys; from pathlib import Path; from data_prep.config import ConvertConfig; from nann.steps.convert import convert; "
        f"convert(inputs=[Path({str(log)!r})], dataset=Path({str(tmp_path / 'dataset')!r}), config=ConvertConfig()); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", child], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
