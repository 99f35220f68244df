"""TFRecord files of `tf.train.Example` records, encoded from flat columns.

A block of n records is a mapping from feature name to `Feature`: flat values with row splits. The native op `Nann>EncodeExamples`
(`ops/cc/encode_examples.cc`) encodes and frames a block in one pass; without the library (`ops.native`) the same bytes come from
`tf.train.Example` and `tf.io.TFRecordWriter`, some twenty times slower.

Record framing: length uint64, masked CRC32C of the length, payload, masked CRC32C of the payload, all little-endian
(tensorflow/core/lib/io/record_writer.h). The map of features is in ascending order of the names' bytes, so equal input gives equal bytes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ops import native


@dataclass(frozen=True)
class Feature:
    """One feature of n records.

    Attributes:
        values: [v] int64, float32, or object (bytes); the values of all records in a row.
        row_splits: [n + 1] int64 from 0 to v, not descending; record i owns values [row_splits[i], row_splits[i + 1]).
    """

    values: np.ndarray
    row_splits: np.ndarray


def scalar_feature(values: np.ndarray) -> Feature:
    """The feature with exactly one value per record.

    Args:
        values: [n] int64, float32, or object (bytes).
    """
    return Feature(values, np.arange(len(values) + 1, dtype=np.int64))


def _kind(name: str, feature: Feature) -> str:
    for kind, dtype in (("int64", np.int64), ("float", np.float32), ("bytes", np.object_)):
        if feature.values.dtype == dtype:
            return kind
    raise TypeError(f"feature {name!r} has dtype {feature.values.dtype}; it must be int64, float32, or object (bytes)")


def encode_records(features: Mapping[str, Feature]) -> np.ndarray:
    """Encodes and frames a block of records with the native op.

    Args:
        features: name -> feature, all of the same number of records.

    Returns:
        [size_bytes] uint8, ready to be appended to a TFRecord file.

    Raises:
        TypeError: a feature has another dtype than int64, float32 or object.
        ValueError: row splits do not fit their values, or the numbers of records differ.
        RuntimeError: the native library is not there.
    """
    library = native.load_library()
    if library is None:
        raise RuntimeError("the native library is not there; run `make install`")
    return _encode_native(library, features)


def _encode_native(library: Any, features: Mapping[str, Feature]) -> np.ndarray:
    import tensorflow as tf

    _check(features)
    by_kind: dict[str, list[str]] = {"int64": [], "float": [], "bytes": []}
    for name in sorted(features):
        by_kind[_kind(name, features[name])].append(name)
    names = [name for group in by_kind.values() for name in group]
    with tf.device("/CPU:0"):
        encoded = library.nann_encode_examples(
            int64_values=[features[name].values for name in by_kind["int64"]],
            float_values=[features[name].values for name in by_kind["float"]],
            bytes_values=[features[name].values for name in by_kind["bytes"]],
            row_splits=[features[name].row_splits for name in names],
            names=names,
        )
    array: np.ndarray = encoded.numpy()
    return array


def _check(features: Mapping[str, Feature]) -> None:
    sizes = {}
    for name, feature in features.items():
        _kind(name, feature)
        splits = feature.row_splits
        if splits.dtype != np.int64 or splits.ndim != 1 or len(splits) < 1 or feature.values.ndim != 1:
            raise ValueError(
                f"feature {name!r}: values must be [v] and row_splits [n + 1] int64, got {feature.values.shape} and {splits.shape}"
            )
        if splits[0] != 0 or splits[-1] != len(feature.values) or bool((np.diff(splits) < 0).any()):
            raise ValueError(
                f"feature {name!r}: row_splits must ascend from 0 to the number of values {len(feature.values)}, "
                f"got {splits[0]} to {splits[-1]}{'' if splits[0] or splits[-1] != len(feature.values) else ' with a descent between'}"
            )
        sizes[name] = len(splits) - 1
    if len(set(sizes.values())) != 1:
        raise ValueError(f"all features need the same number of records, got {sizes}")


def _example_of(features: bytes) -> bytes:
    """The Example around serialized Features. Joined entries are their merged map; protobuf's own deterministic order of a map differs
    between its implementations where one name is the beginning of another."""
    head, size = bytearray(b"\x0a"), len(features)
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + features


def encode_block(features: Mapping[str, Feature]) -> np.ndarray:
    """Encodes and frames a block of records, with the native op or, without it, with stock TensorFlow.

    Args:
        features: name -> feature, all of the same number of records.

    Returns:
        [size_bytes] uint8, ready to be appended to a TFRecord file.

    Raises:
        TypeError, ValueError: as `encode_records`.
    """
    library = native.load_library()
    if library is not None:
        return _encode_native(library, features)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "block.tfrecord"
        _write_stock(path, [features])
        return np.fromfile(path, np.uint8)


def _write_stock(path: Path, blocks: Iterable[Mapping[str, Feature]]) -> None:
    import tensorflow as tf

    def message(feature: Feature, kind: str, row: int) -> Any:
        values = feature.values[feature.row_splits[row] : feature.row_splits[row + 1]]
        if kind == "int64":
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        if kind == "float":
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=list(values)))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for features in blocks:
            _check(features)
            kinds = {name: _kind(name, feature) for name, feature in features.items()}
            num_rows = len(next(iter(features.values())).row_splits) - 1
            for row in range(num_rows):
                entries = (tf.train.Features(feature={name: message(features[name], kinds[name], row)}) for name in sorted(features))
                writer.write(_example_of(b"".join(entry.SerializeToString() for entry in entries)))


def write_records(path: Path, blocks: Iterable[Mapping[str, Feature]]) -> int:
    """Writes one uncompressed TFRecord file.

    Args:
        path: file to write; an existing one is replaced.
        blocks: records, block by block, so that memory is bounded by a block.

    Returns:
        Size of the file in bytes.

    Raises:
        TypeError, ValueError: as `encode_records`.
    """
    library = native.load_library()
    if library is None:
        _write_stock(path, blocks)
    else:
        with open(path, "wb") as file:
            for features in blocks:
                file.write(_encode_native(library, features).data)
    return path.stat().st_size
