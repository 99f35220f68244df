"""TFRecord files of `tf.train.Example` records, encoded from flat columns.

A block of n records is a mapping from feature name to `Feature`: flat values, and the range of them that each record owns. The native data
library (`ops/cc/data/examples.cc`) encodes and frames a block in one pass; without it (`ops.data_library`) the same bytes come from
`tf.train.Example` and `tf.io.TFRecordWriter`, some twenty times slower.

Record framing: length uint64, masked CRC32C of the length, payload, masked CRC32C of the payload, all little-endian
(tensorflow/core/lib/io/record_writer.h). The map of features is in ascending order of the names' bytes, so equal input gives equal bytes.
"""

from __future__ import annotations

import ctypes
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ops.data_library import address, load_data_library

_KINDS = {"bytes": 1, "float": 2, "int64": 3}  # fields of message Feature (tensorflow/core/example/feature.proto)
COPY_SLACK = 16  # bytes that the native encoder may read or write beyond the end (kCopySlack in ops/cc/data/wire_format.h)
_local = threading.local()


@dataclass(frozen=True)
class RecordFeature:
    """One feature of n records.

    Attributes:
        values: [v] int64 or int32 (an int64 list either way), float32, or object (bytes).
        begins: [n] int64; record i owns values [begins[i], ends[i]). The ranges may overlap, and need not hold all values.
        ends: [n] int64.
    """

    values: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


def split_feature(values: np.ndarray, row_splits: np.ndarray) -> RecordFeature:
    """The feature whose records own all values in a row.

    Args:
        values: [v] as of `Feature`.
        row_splits: [n + 1] int64 from 0 to v, not descending; record i owns values [row_splits[i], row_splits[i + 1]).

    Raises:
        ValueError: the row splits do not fit the values.
    """
    if row_splits.dtype != np.int64 or row_splits.ndim != 1 or len(row_splits) < 1 or values.ndim != 1:
        raise ValueError(f"values must be [v] and row_splits [n + 1] int64, got {values.shape} and {row_splits.shape} {row_splits.dtype}")
    if row_splits[0] != 0 or row_splits[-1] != len(values) or bool((np.diff(row_splits) < 0).any()):
        between = "" if row_splits[0] or row_splits[-1] != len(values) else " with a descent between"
        raise ValueError(
            f"row_splits must ascend from 0 to the number of values {len(values)}, got {row_splits[0]} to {row_splits[-1]}{between}"
        )
    return RecordFeature(values, row_splits[:-1], row_splits[1:])


def scalar_feature(values: np.ndarray) -> RecordFeature:
    """The feature with exactly one value per record ([n] values as of `Feature`)."""
    places = np.arange(len(values) + 1, dtype=np.int64)
    return RecordFeature(values, places[:-1], places[1:])


def _kind(name: str, feature: RecordFeature) -> str:
    for kind, dtypes in (("int64", (np.int64, np.int32)), ("float", (np.float32,)), ("bytes", (np.object_,))):
        if feature.values.dtype in dtypes:
            return kind
    raise TypeError(f"feature {name!r} has dtype {feature.values.dtype}; it must be int64, int32, float32, or object (bytes)")


def _check(features: Mapping[str, RecordFeature]) -> None:
    sizes = {}
    for name, feature in features.items():
        _kind(name, feature)
        begins, ends = feature.begins, feature.ends
        if feature.values.ndim != 1 or any(bounds.dtype != np.int64 or bounds.ndim != 1 for bounds in (begins, ends)):
            raise ValueError(
                f"feature {name!r}: values must be [v], begins and ends [n] int64, got {feature.values.shape}, {begins.shape}, {ends.shape}"
            )
        if len(begins) != len(ends):
            raise ValueError(f"feature {name!r}: there must be as many begins as ends, got {len(begins)} and {len(ends)}")
        if len(begins) and (begins.min() < 0 or ends.max() > len(feature.values) or bool((begins > ends).any())):
            raise ValueError(
                f"feature {name!r}: the ranges must lie in its {len(feature.values)} values and not end before they begin, "
                f"got [{begins.min()}, {ends.max()})"
            )
        sizes[name] = len(begins)
    if len(set(sizes.values())) != 1:
        raise ValueError(f"all features need the same number of records, got {sizes}")


class _Column(ctypes.Structure):
    """`nann::Column` of ops/cc/data/examples.cc."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("name_size", ctypes.c_int32),
        ("name", ctypes.c_char_p),
        ("values", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("begins", ctypes.c_void_p),
        ("ends", ctypes.c_void_p),
    )


def _scratch(name: str, size: int, dtype: type) -> np.ndarray:
    """At least ``size`` values that this thread writes again and again: fresh memory costs more than the encoding."""
    buffer: np.ndarray | None = getattr(_local, name, None)
    if buffer is None or len(buffer) < size:
        buffer = np.empty(size + size // 4, dtype)
        setattr(_local, name, buffer)
    return buffer


def _wire_form(library: ctypes.CDLL, values: np.ndarray, place: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The values as they stand in a record, in scratch number ``place``, and the offset of each (None: 4 bytes each)."""
    if values.dtype == np.float32:
        return np.ascontiguousarray(values), None
    offsets = _scratch(f"offsets_{place}", len(values) + 1, np.int64)
    if values.dtype == np.object_:
        data = np.frombuffer(b"".join(values), np.uint8)
        lengths = np.fromiter(map(len, values), np.int64, len(values))
        wire = _scratch(f"wire_{place}", len(data) + 11 * len(values) + COPY_SLACK, np.uint8)
        library.nann_pack_bytes(address(data), address(lengths), len(values), address(wire), address(offsets))
        return wire, offsets
    values = np.ascontiguousarray(values)
    wire = _scratch(f"wire_{place}", 10 * len(values) + COPY_SLACK, np.uint8)
    library.nann_pack_integers(address(values), values.itemsize, len(values), address(wire), address(offsets))
    return wire, offsets


def _encode_native(library: ctypes.CDLL, features: Mapping[str, RecordFeature]) -> np.ndarray:
    """The records in this thread's scratch memory; valid until its next call."""
    _check(features)
    names = sorted(features)
    columns, alive = (_Column * len(names))(), []
    packed: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}  # by identity: features that share values share their wire form
    for column, name in zip(columns, names, strict=True):
        feature = features[name]
        if id(feature.values) not in packed:
            packed[id(feature.values)] = _wire_form(library, feature.values, len(packed))
        wire, offsets = packed[id(feature.values)]
        begins, ends, encoded = np.ascontiguousarray(feature.begins), np.ascontiguousarray(feature.ends), name.encode()
        alive.append((wire, offsets, begins, ends, encoded))
        column.kind, column.name_size, column.name = _KINDS[_kind(name, feature)], len(encoded), encoded
        column.values, column.offsets = address(wire), None if offsets is None else address(offsets)
        column.begins, column.ends = address(begins), address(ends)
    num_records = len(features[names[0]].begins)
    out = _scratch("records", 1 << 20, np.uint8)
    while True:
        size = library.nann_encode_examples(columns, len(names), num_records, address(out), len(out))
        if size < 0:
            raise ValueError(f"a record may have at most 2^31 - 1 bytes, but record {-1 - size} has more")
        if size + COPY_SLACK <= len(out):
            return out[:size]
        out = _scratch("records", size + COPY_SLACK, np.uint8)


def encode_records(features: Mapping[str, RecordFeature]) -> np.ndarray:
    """Encodes and frames a block of records with the native library.

    Args:
        features: name -> feature, all of the same number of records.

    Returns:
        [size_bytes] uint8, ready to be appended to a TFRecord file.

    Raises:
        TypeError: a feature has another dtype than int64, int32, float32 or object.
        ValueError: ranges do not fit their values, the numbers of records differ, or a record has 2^31 bytes or more.
        RuntimeError: the native library is not there.
    """
    library = load_data_library()
    if library is None:
        raise RuntimeError("the native data library is not there; run `make install`")
    return _encode_native(library, features).copy()


def _example_of(features: bytes) -> bytes:
    """The Example around serialized Features. Joined entries are their merged map; protobuf's own deterministic order of a map differs
    between its implementations where one name is the beginning of another."""
    head, size = bytearray(b"\x0a"), len(features)
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + features


def encode_block(features: Mapping[str, RecordFeature]) -> np.ndarray:
    """Encodes and frames a block of records, natively or, without the library, with stock TensorFlow.

    Args:
        features: name -> feature, all of the same number of records.

    Returns:
        [size_bytes] uint8, ready to be appended to a TFRecord file; valid until the next call in the same thread.

    Raises:
        TypeError, ValueError: as `encode_records`.
    """
    library = load_data_library()
    if library is not None:
        return _encode_native(library, features)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "block.tfrecord"
        _write_stock(path, [features])
        return np.fromfile(path, np.uint8)


def _write_stock(path: Path, blocks: Iterable[Mapping[str, RecordFeature]]) -> None:
    import tensorflow as tf

    def message(feature: RecordFeature, kind: str, row: int) -> Any:
        values = feature.values[feature.begins[row] : feature.ends[row]]
        if kind == "int64":
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        if kind == "float":
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=list(values)))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for features in blocks:
            _check(features)
            kinds = {name: _kind(name, feature) for name, feature in features.items()}
            for row in range(len(next(iter(features.values())).begins)):
                entries = (tf.train.Features(feature={name: message(features[name], kinds[name], row)}) for name in sorted(features))
                writer.write(_example_of(b"".join(entry.SerializeToString() for entry in entries)))
