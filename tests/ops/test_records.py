"""The native record encoder against tf.train.Example and TFRecordWriter, byte by byte."""

import ctypes
import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import data_library, native, records
from ops.data_library import load_data_library
from ops.records import RecordFeature, encode_block, encode_records, scalar_feature, split_feature

needs_native = pytest.mark.skipif(load_data_library() is None, reason="the native data library is not built; run `make install`")


def feature(lists: list, dtype: type) -> RecordFeature:
    flat = [value for values in lists for value in values]
    values = np.empty(len(flat), object) if dtype is object else np.array(flat, dtype)
    if dtype is object:
        values[:] = flat
    return split_feature(values, np.cumsum([0, *map(len, lists)], dtype=np.int64))


def stock_bytes(path: Path, features: dict[str, RecordFeature]) -> bytes:
    records._write_stock(path, [features])
    return path.read_bytes()


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, RecordFeature]:
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
def test_native_bytes_equal_the_stock_writers(features: dict[str, RecordFeature], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("stock") / "block.tfrecord"
    assert encode_records(features).tobytes() == stock_bytes(path, features)
    for row, record in enumerate(tf.data.TFRecordDataset(str(path))):
        parsed = tf.train.Example.FromString(record.numpy()).features.feature
        assert sorted(parsed) == sorted(features)
        for name, column in features.items():
            values = column.values[column.begins[row] : column.ends[row]]
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
def test_edges_equal_the_stock_writers(features: dict[str, RecordFeature], tmp_path: Path) -> None:
    assert encode_records(features).tobytes() == stock_bytes(tmp_path / "stock.tfrecord", features)


def test_written_files_are_read_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lists = [list(rng.integers(0, 10**6, rng.integers(0, 60))) for _ in range(300)]
    path = tmp_path / "train.tfrecord"
    blocks = [{"item_ids": feature(some, np.int64)} for some in (lists[:200], lists[200:])]
    path.write_bytes(b"".join(encode_block(block).tobytes() for block in blocks))
    parsed = [
        list(tf.train.Example.FromString(record.numpy()).features.feature["item_ids"].int64_list.value)
        for record in tf.data.TFRecordDataset(str(path))  # checks both checksums of every record
    ]
    assert parsed == lists


def test_the_stock_form_takes_over_without_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = {"a": feature([[1, 2], [], [3]], np.int64), "w": feature([[0.5], [], [1]], np.float32)}
    monkeypatch.setattr(records, "load_data_library", lambda: None)
    assert encode_block(features).tobytes() == stock_bytes(tmp_path / "expected.tfrecord", features)
    with pytest.raises(RuntimeError, match="make install"):
        encode_records(features)


RANGES = np.array([0, 2]), np.array([2, 3])


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ({"a": RecordFeature(np.arange(3), np.array([0, 2]), np.array([2, 4]))}, ValueError, r"'a'.*in its 3 values.*got \[0, 4\)"),
        ({"a": RecordFeature(np.arange(3), np.array([-1, 2]), np.array([2, 3]))}, ValueError, r"got \[-1, 3\)"),
        ({"a": RecordFeature(np.arange(3), np.array([2, 2]), np.array([1, 3]))}, ValueError, "not end before they begin"),
        ({"a": RecordFeature(np.arange(3), np.array([0, 2]), np.array([2]))}, ValueError, "as many begins as ends, got 2 and 1"),
        ({"a": RecordFeature(np.arange(3), *RANGES), "b": scalar_feature(np.arange(3))}, ValueError, "same number"),
        ({"a": RecordFeature(np.arange(3), np.array([0, 2], np.int32), np.array([2, 3]))}, ValueError, r"begins and ends \[n\] int64"),
        ({"a": RecordFeature(np.zeros((3, 1), np.int64), *RANGES)}, ValueError, r"values must be \[v\]"),
        ({"a": RecordFeature(np.arange(3, dtype=np.int16), *RANGES)}, TypeError, "int16"),
    ],
)
def test_ill_formed_features_are_refused(
    features: dict[str, RecordFeature], error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error, match=message):
        encode_block(features)
    monkeypatch.setattr(records, "load_data_library", lambda: None)
    with pytest.raises(error, match=message):
        encode_block(features)


@pytest.mark.parametrize(
    ("row_splits", "message"),
    [
        (np.array([0, 2]), "ascend from 0 to the number of values 3, got 0 to 2"),
        (np.array([1, 3]), "got 1 to 3"),
        (np.array([0, 2, 1, 3]), "descent"),
        (np.array([], np.int64), r"row_splits \[n \+ 1\]"),
        (np.array([0, 3], np.int32), r"row_splits \[n \+ 1\]"),
    ],
)
def test_ill_formed_row_splits_are_refused(row_splits: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_feature(np.arange(3), row_splits)


@needs_native
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_overlapping_ranges_equal_copies(data: st.DataObject) -> None:
    """Windows into shared values against the same values copied out, for all kinds; 32-bit integers against 64-bit ones."""
    num_values = data.draw(st.integers(1, 30))
    integers = np.array(data.draw(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=num_values, max_size=num_values)), np.int64)
    strings = np.array([bytes([65 + value % 26]) * (value % 200) for value in integers], object)
    bounds = data.draw(st.lists(st.tuples(st.integers(0, num_values), st.integers(0, num_values)).map(sorted), max_size=12))
    begins, ends = (np.array([pair[place] for pair in bounds], np.int64) for place in (0, 1))
    every = {"int": integers, "short": integers.astype(np.int32), "float": integers.astype(np.float32), "string": strings}
    shared = {name: RecordFeature(values, begins, ends) for name, values in every.items()} | {"again": RecordFeature(integers, ends, ends)}
    copied = {
        name: feature([list(values[begin:end]) for begin, end in bounds], object if name == "string" else values.dtype.type)
        for name, values in every.items()
    }
    copied["short"] = feature([list(integers[begin:end]) for begin, end in bounds], np.int64)
    copied["again"] = feature([[] for _ in bounds], np.int64)
    assert encode_records(shared).tobytes() == encode_records(copied).tobytes()


@needs_native
def test_a_block_is_valid_until_the_next() -> None:
    small, large = {"a": scalar_feature(np.arange(10))}, {"a": scalar_feature(np.arange(200_000))}
    block = encode_block(small)
    before = block.tobytes()
    assert encode_block(large).tobytes() == encode_records(large).tobytes()  # more than the scratch memory had at first
    assert encode_block(small).tobytes() == before


@pytest.fixture
def fresh_loader() -> None:
    native.load_library.cache_clear()
    load_data_library.cache_clear()
    yield
    native.load_library.cache_clear()
    load_data_library.cache_clear()


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


@pytest.mark.usefixtures("fresh_loader")
@pytest.mark.parametrize("content", [None, b"no library"], ids=["missing", "broken"])
def test_a_missing_data_library_warns_once_or_fails(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        (tmp_path / data_library.LIBRARY_NAME).write_bytes(content)
    monkeypatch.setattr(data_library.resources, "files", lambda package: tmp_path)
    monkeypatch.delenv("NANN_REQUIRE_NATIVE", raising=False)
    with caplog.at_level(logging.WARNING):
        assert load_data_library() is None
        assert load_data_library() is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    load_data_library.cache_clear()
    monkeypatch.setenv("NANN_REQUIRE_NATIVE", "1")
    with pytest.raises(RuntimeError, match="make install"):
        load_data_library()


@needs_native
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=100))
def test_both_forms_of_the_checksum_agree_with_its_definition(data: bytes) -> None:
    checksum = load_data_library().nann_crc32c
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
