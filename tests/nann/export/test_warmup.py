"""The warm-up file, read back through message types declared as TensorFlow Serving declares them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

from nann.export.warmup import WARMUP_FILE, write_warmup_requests

BYTES, STRING, MESSAGE = 12, 9, 11


def message_types() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", package="tensorflow.serving", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, int, str]) -> Any:
        declared = file.message_type.add(name=name)
        for field, number, label, kind, type_name in fields:
            declared.field.add(name=field, number=number, label=label, type=kind, type_name=type_name or None)
        return declared

    message("ModelSpec", ("name", 1, 1, STRING, ""), ("signature_name", 3, 1, STRING, ""))
    message(
        "PredictRequest",
        ("model_spec", 1, 1, MESSAGE, ".tensorflow.serving.ModelSpec"),
        ("inputs", 2, 3, MESSAGE, ".tensorflow.serving.Entry"),
    )
    message("Entry", ("key", 1, 1, STRING, ""), ("value", 2, 1, BYTES, ""))
    message("PredictLog", ("request", 1, 1, MESSAGE, ".tensorflow.serving.PredictRequest"))
    message("PredictionLog", ("predict_log", 6, 1, MESSAGE, ".tensorflow.serving.PredictLog"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.PredictionLog"))


def test_requests_come_back(tmp_path: Path) -> None:
    requests = [{"item_ids": np.arange(300)[np.newaxis], "cate_ids": np.zeros((1, 300), np.int64)}, {"item_ids": np.array([["a", "é"]])}]
    path = write_warmup_requests(tmp_path, requests, model="nann", signature="serving_default")
    assert path == tmp_path / WARMUP_FILE
    prediction_log = message_types()
    records = [prediction_log.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    assert len(records) == 2
    for record, inputs in zip(records, requests, strict=True):
        request = record.predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == ("nann", "serving_default")
        read = {entry.key: tf.make_ndarray(tensor_pb2.TensorProto.FromString(entry.value)) for entry in request.inputs}
        assert read.keys() == inputs.keys()
        for name, value in inputs.items():
            expected = np.char.encode(value) if value.dtype.kind == "U" else value
            np.testing.assert_array_equal(read[name].astype(expected.dtype), expected)


def test_more_than_a_server_reads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 1000 requests, got 1001"):
        write_warmup_requests(tmp_path, [{}] * 1001, model="nann", signature="serving_default")
