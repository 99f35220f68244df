"""The native record encoder against tf.train.Example and TFRecordWriter, byte by byte."""

import ctypes
import logging
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import native, records
from ops.records import Feature, encode_records, scalar_feature, write_records

needs_native = pytest.mark.skipif(native.load_library() is None, reason="the native library is not built; run `make install`")


def feature(lists: list, dtype: type) -> Feature:
    flat = [value for values in lists for value in values]
    values = np.empty(len(flat), object) if dtype is object else np.array(flat, dtype)
    if dtype is object:
        values[:] = flat
    return Feature(values, np.cumsum([0, *map(len, lists)], dtype=np.int64))


def stock_bytes(path: Path, features: dict[str, Feature]) -> bytes:
    records._write_stock(path, [features])
    return path.read_bytes()


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, Feature]:
    num_rows = draw(st.integers(0, 5))
    elements = {
        np.int64: st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 300),
        np.float32: st.floats(width=32, allow_nan=False),
        object: st.binary(max_size=200),
    }
    names = draw(st.lists(st.text(min_size=1, max_size=130), min_size=1, max_size=4, unique=True))
    features = {}
    for name in names:
        dtype = draw(st.sampled_from(list(elements)))
        features[name] = feature([draw(st.lists(elements[dtype], max_size=20)) for _ in range(num_rows)], dtype)
    return features


@needs_native
@settings(max_examples=60, deadline=None)
@given(features=blocks())
def test_native_bytes_equal_the_stock_writers(features: dict[str, Feature], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("stock") / "block.tfrecord"
    assert encode_records(features).tobytes() == stock_bytes(path, features)
    for row, record in enumerate(tf.data.TFRecordDataset(str(path))):
        parsed = tf.train.Example.FromString(record.numpy()).features.feature
        assert sorted(parsed) == sorted(features)
        for name, column in features.items():
            values = column.values[column.row_splits[row] : column.row_splits[row + 1]]
            assert list(getattr(parsed[name], parsed[name].WhichOneof("kind")).value) == list(values)


@needs_native
@pytest.mark.parametrize(
    "features",
    [
        {"a": feature([[], [], []], np.int64), "b": feature([[], [], []], np.float32), "c": feature([[], [], []], object)},
        {"a": feature([], np.int64)},
        {"a": feature([[-(2**63), 2**63 - 1, 0, -1, 127, 128, 2**56]], np.int64)},
        {"long": feature([list(range(100_000))], np.int64), "b" * 300: feature([[b"x" * 70_000, b""]], object)},
        {"z": scalar_feature(np.arange(1000)), "é": scalar_feature(np.arange(1000)), "": scalar_feature(np.arange(1000))},
        {"f": feature([[float("inf"), float("-inf"), -0.0, 1e-42]], np.float32)},
    ],
    ids=["empty lists", "no rows", "extreme integers", "long record", "names", "extreme floats"],
)
def test_edges_equal_the_stock_writers(features: dict[str, Feature], tmp_path: Path) -> None:
    assert encode_records(features).tobytes() == stock_bytes(tmp_path / "stock.tfrecord", features)


def test_written_files_are_read_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lists = [list(rng.integers(0, 10**6, rng.integers(0, 60))) for _ in range(300)]
    path = tmp_path / "train.tfrecord"
    size = write_records(path, [{"item_ids": feature(lists[:200], np.int64)}, {"item_ids": feature(lists[200:], np.int64)}])
    assert size == path.stat().st_size
    parsed = [
        list(tf.train.Example.FromString(record.numpy()).features.feature["item_ids"].int64_list.value)
        for record in tf.data.TFRecordDataset(str(path))  # checks both checksums of every record
    ]
    assert parsed == lists


def test_the_stock_form_takes_over_without_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = {"a": feature([[1, 2], [], [3]], np.int64), "w": feature([[0.5], [], [1]], np.float32)}
    monkeypatch.setattr(native, "load_library", lambda: None)
    write_records(tmp_path / "stock.tfrecord", [features])
    assert (tmp_path / "stock.tfrecord").read_bytes() == stock_bytes(tmp_path / "expected.tfrecord", features)
    with pytest.raises(RuntimeError, match="make install"):
        encode_records(features)


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ({"a": Feature(np.arange(3), np.array([0, 2]))}, ValueError, "ascend from 0 to the number of values 3, got 0 to 2"),
        ({"a": Feature(np.arange(3), np.array([1, 3]))}, ValueError, "got 1 to 3"),
        ({"a": Feature(np.arange(3), np.array([0, 2, 1, 3]))}, ValueError, "descent"),
        ({"a": Feature(np.arange(3), np.array([0, 3])), "b": Feature(np.arange(3), np.array([0, 1, 3]))}, ValueError, "same number"),
        ({"a": Feature(np.arange(3), np.array([], np.int64))}, ValueError, r"row_splits \[n \+ 1\]"),
        ({"a": Feature(np.arange(3, dtype=np.int32), np.array([0, 3]))}, TypeError, "int32"),
    ],
)
def test_ill_formed_features_are_refused(
    features: dict[str, Feature], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error, match=message):
        write_records(tmp_path / "a.tfrecord", [features])
    monkeypatch.setattr(native, "load_library", lambda: None)
    with pytest.raises(error, match=message):
        write_records(tmp_path / "a.tfrecord", [features])


def call_op(int64_values: list, row_splits: list, names: list[str]) -> tf.Tensor:
    return native.load_library().nann_encode_examples(
        int64_values=[np.array(values, np.int64) for values in int64_values],
        float_values=[],
        bytes_values=[],
        row_splits=[np.array(splits, np.int64) for splits in row_splits],
        names=names,
    )


@needs_native
@pytest.mark.parametrize(
    ("values", "row_splits", "names", "message"),
    [
        ([[1, 2]], [[0, 3]], ["a"], "number of values 2, got 0 to 3"),
        ([[1, 2]], [[-1, 2]], ["a"], "got -1 to 2"),
        ([[1, 2]], [[0, 5, 2]], ["a"], "must not descend, got 5 before 2 at 1"),
        ([[1, 2]], [[0, -5, 2]], ["a"], "must not descend, got 0 before -5 at 0"),
        ([[1], [1]], [[0, 1], [0, 0, 1]], ["a", "b"], "same length|Dimension"),
        ([[1]], [[]], ["a"], "at least 1"),
        ([[1], [1]], [[0, 1], [0, 1]], ["a", "a"], "must differ, got a twice"),
        ([[1]], [[0, 1]], ["a", "b"], "2 names and 1 row splits"),
        ([[1], [2]], [[0, 1]], ["a"], "1 names and 2 lists of values"),
        ([[[1]]], [[0, 1]], ["a"], "vectors|rank"),
    ],
)
def test_the_op_refuses_offending_values(values: list, row_splits: list, names: list[str], message: str) -> None:
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        call_op(values, row_splits, names)


@needs_native
def test_the_op_knows_its_shape_in_a_graph() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.int64)])
    def encode(values: tf.Tensor, row_splits: tf.Tensor) -> tf.Tensor:
        out = native.load_library().nann_encode_examples(
            int64_values=[values], float_values=[], bytes_values=[], row_splits=[row_splits], names=["a"]
        )
        assert out.shape.as_list() == [None]
        assert out.dtype == tf.uint8
        return out

    expected = encode_records({"a": Feature(np.array([7, 8]), np.array([0, 1, 2]))})
    np.testing.assert_array_equal(encode(np.array([7, 8]), np.array([0, 1, 2])), expected)


@pytest.fixture
def fresh_loader() -> None:
    native.load_library.cache_clear()
    yield
    native.load_library.cache_clear()


@pytest.mark.usefixtures("fresh_loader")
@pytest.mark.parametrize("content", [None, b"no library", b"<nann ops built for TensorFlow 1.15.0>"], ids=["missing", "broken", "other"])
def test_a_missing_or_foreign_library_warns_once_or_fails(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        (tmp_path / native.LIBRARY_NAME).write_bytes(content)
    monkeypatch.setattr(native.resources, "files", lambda package: tmp_path)
    monkeypatch.delenv("NANN_REQUIRE_NATIVE", raising=False)
    with caplog.at_level(logging.WARNING):
        assert native.load_library() is None
        assert native.load_library() is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "make install" in caplog.text
    native.load_library.cache_clear()
    monkeypatch.setenv("NANN_REQUIRE_NATIVE", "1")
    with pytest.raises(RuntimeError, match="make install"):
        native.load_library()


@needs_native
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=100))
def test_both_forms_of_the_checksum_agree_with_its_definition(data: bytes) -> None:
    with resources.as_file(resources.files("ops") / native.LIBRARY_NAME) as path:
        checksum = ctypes.CDLL(str(path)).nann_crc32c
    checksum.restype, checksum.argtypes = ctypes.c_uint32, [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    expected = 0xFFFFFFFF
    for byte in data:
        expected ^= byte
        for _ in range(8):
            expected = expected >> 1 ^ (0x82F63B78 if expected & 1 else 0)
    expected ^= 0xFFFFFFFF
    assert checksum(data, len(data), 0) == expected
    assert checksum(data, len(data), 1) == expected
    assert checksum(b"123456789", 9, 1) == 0xE3069283  # RFC 3720's check value
