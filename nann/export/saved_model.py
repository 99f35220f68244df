"""Writes a SavedModel around a MetaGraph whose checkpoint already lies somewhere: the tables are linked, not written again."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from data_prep.durable import link_or_copy

SCHEMA_VERSION = 1


def write_saved_model(directory: Path, meta: tf.compat.v1.MetaGraphDef, prefix: Path) -> None:
    """Writes ``saved_model.pb`` and ``variables/``, as `tf.compat.v1.saved_model.Builder` does.

    Args:
        directory: the version's directory; made here, with its parents.
        meta: with its signatures and saver.
        prefix: path of a checkpoint of all its variables in one shard, without extension. Its files become hard links where the file
            system has them, else copies.
    """
    variables = directory / "variables"
    variables.mkdir(parents=True)
    for suffix in (".index", ".data-00000-of-00001"):
        link_or_copy(prefix.with_name(prefix.name + suffix), variables / f"variables{suffix}")
    saved_model = saved_model_pb2.SavedModel(saved_model_schema_version=SCHEMA_VERSION)
    saved_model.meta_graphs.add().CopyFrom(meta)
    saved_model.meta_graphs[0].meta_info_def.tags.append(tf.saved_model.SERVING)
    (directory / "saved_model.pb").write_bytes(saved_model.SerializeToString(deterministic=True))
